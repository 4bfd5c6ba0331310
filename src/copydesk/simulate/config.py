"""The settings of an experiment: its columns (task and users), rows (methods), seeds, logs and training."""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from copydesk import embedded
from copydesk.data.cost import CostUnit
from copydesk.ensemble.rules import RULES, Rule, list_late_methods
from copydesk.errors import InputError
from copydesk.method_registry import METHODS
from copydesk.report.columns import Scenario, parse_scenario
from copydesk.simulate.recipe import PERSONAL_RECIPE, Selection, get_recipe
from copydesk.simulate.tasks import SCRIPTED_TASKS, TASKS, get_task
from copydesk.simulate.users import ONLINE_ONLY, get_user
from copydesk.simulate.users.scripted import MIN_PERSONAL_EDITS, PersonalUser, make_personal_users
from copydesk.training.config import TrainConfig
from copydesk.utils.config import Config, ConfigError, Flag, make_setting_error

if TYPE_CHECKING:
    from copydesk.policies.base import Sampling


def parse_scenario_arg(words: str) -> Scenario:
    """Parse a column named on the command line or in a file.

    Raises:
        InputError: it is not TASK/USER.
    """
    task, _, user = words.partition("/")
    if not task or not user or "/" in user:
        raise InputError(f"--columns {words}: write TASK/USER, such as email/strong or email/strong-to-weak")
    return parse_scenario(words)


BASE_METHOD = "base"
ORACLE_METHOD = "oracle"
PERSONAL_METHODS = ("shared", "own")
"""With several people: one policy from everybody's edits, and an adapter for each person from their own."""

_PROMPTED_PATTERN = re.compile(r"(?P<learner>icl|cipher)-(?P<k>[1-9]\d*)")


def parse_training_method(name: str) -> str | None:
    """The training method of that name, if it is one."""
    return name if name in METHODS else None


def parse_prompted_method(name: str) -> tuple[str, int] | None:
    """The kind of prompt learner (`icl` or `cipher`) and the number of past edits it retrieves, if it is one."""
    found = _PROMPTED_PATTERN.fullmatch(name)
    return None if found is None else (found["learner"], int(found["k"]))


def find_method_error(names: Sequence[str], more: Sequence[str] = ()) -> str:
    """What is wrong with a list of rows: an unknown name, or one that is given twice; empty if nothing is.

    Args:
        names: the rows.
        more: rows that exist beside the methods, such as policies given by name.
    """
    known = (BASE_METHOD, ORACLE_METHOD, "icl-K", "cipher-K", *METHODS, *list_late_methods())
    for name in names:
        if name not in {*known, *more} - {"icl-K", "cipher-K"} and parse_prompted_method(name) is None:
            return f"there is no method {name!r}; choose from {', '.join(known)} (K: past edits, such as 5)"
        if list(names).count(name) > 1:
            return f"{name} is given twice; name it once"
    return ""


TABLE_TASKS = ("summarization", "email")
DEFAULT_SCENARIOS = tuple(
    f"{task}/{meeting}"
    for meetings in (("strong", "weak-to-strong"), ("strong-to-transfer", "weak-to-transfer"))
    for task in TABLE_TASKS
    for meeting in meetings
)
"""The paper's tables 1 and 2: the log of the strong or the weak user, met by the strong or the transfer user."""
DEFAULT_ARMS = ("sft", "dpo", "early")
MAY_EXTEND = ("columns", "methods", "rules", "seeds")
"""Settings that a later run into the same folder may extend. All others must stay as they were."""

ScenarioNames = Annotated[
    tuple[str, ...],
    Flag(comma=True, default_text="the paper's two tables"),
    Field(
        min_length=1,
        description="The columns, as TASK/USER with commas between. A user is strong, weak (attends to two preferences "
        "at a time), weak-3 or weak-0.35 (to three, or to each with that probability), transfer, other (another taste) "
        "or erring-0.30 (makes errors); A-to-B and A-then-B name a log of user A and rounds with user B.",
    ),
]
MethodNames = Annotated[
    tuple[str, ...],
    Flag(comma=True),
    Field(
        min_length=1,
        description="The rows, with commas between: base, sft, dpo, rl, early, oracle, icl-K and cipher-K (K past "
        f"edits, such as icl-5), {', '.join(list_late_methods())}.",
    ),
]
Arms = Annotated[
    tuple[str, ...],
    Flag(comma=True, default_text=", ".join(DEFAULT_ARMS)),
    Field(description="The methods that the late ensembles choose from, with commas between."),
]
Seeds = Annotated[
    tuple[int, ...],
    Flag(comma=True),
    Field(min_length=1, description="The seeds, with commas between. Each redraws log, training and rounds."),
]
LlmUsers = Annotated[
    Mapping[str, str],
    Flag("--user"),
    Field(
        description="NAME=SPEC: an LLM plays the user NAME; SPEC is MODEL@URL of an OpenAI-compatible server, or a "
        "model. All other users are scripts. May be repeated.",
    ),
]
Encoder = Annotated[
    str | None,
    Flag(default_text="the model's own states"),
    Field(description="The sentence encoder that finds past edits for icl-K and cipher-K."),
]


TaskEdits = Annotated[
    Mapping[str, int],
    Field(
        description="The rows n of the logs of some tasks, by the task's name; `edits` is that of all others.",
    ),
]


class ExperimentConfig(Config):
    """The settings of an experiment; the defaults are the paper's tables on the embedded model.

    A demo, an online phase of policies that exist already, a run with several people and a benchmark are all
    configurations of this class (`copydesk.simulate.presets`). `bench.json` and `results.json` keep the settings.

    Raises:
        InputError: a name is unknown, or a number is out of range.
    """

    model_config = ConfigDict(strict=True)  # a file's "3" is not 3

    columns: ScenarioNames = DEFAULT_SCENARIOS
    methods: MethodNames = (BASE_METHOD, *DEFAULT_ARMS, "late")
    rules: Annotated[
        tuple[str, ...],
        Field(description="Late ensembles by other rules: rows of the columns with another taste online."),
    ] = ()
    seeds: Seeds = (0, 1, 2)
    rounds: Annotated[int, Field(ge=1, description="The online rounds T of every method.")] = 200
    edits: Annotated[int, Field(ge=2, description="The rows n of every log.")] = 1000
    task_edits: TaskEdits = Field(default_factory=dict)
    held_out_edits: Annotated[
        int, Field(ge=0, description="Edits of the same user after the log's, to measure policies on.")
    ] = 200
    model: Annotated[
        str, Field(description="The model that learns, the reference policy: embedded, smollm2, a folder or a hub id.")
    ] = embedded.NAME
    users: LlmUsers = Field(default_factory=dict)
    policies: Annotated[
        Mapping[str, str],
        Field(description="Policies that exist already: the spec of each row of that name."),
    ] = Field(default_factory=dict)
    exclude_logs: Annotated[
        tuple[str, ...], Field(description="Logs whose documents are not met online, where no log is made.")
    ] = ()
    personal: Annotated[
        bool, Field(description="Whether six people of different tastes share each log, all like the column's user.")
    ] = False
    prior: Annotated[
        float,
        Field(
            ge=0,
            description="At most how many pulls of the others count for an arm of which a person's ensemble knows "
            "little; the default of `copydesk serve`.",
        ),
    ] = 10.0
    arms: Arms = ()
    selection: Annotated[
        Selection,
        Field(description="The rule by which training settings were chosen: log-loss (the paper's) or unfixed."),
    ] = "log-loss"
    encoder: Encoder = None
    temperature: Annotated[float, Field(ge=0, description="Temperature of the responses online; 0 is greedy.")] = 0.0
    log_temperature: Annotated[
        float, Field(ge=0, description="Temperature of the responses in the log; 0 is greedy.")
    ] = 0.0
    unseen_values: Annotated[
        float, Field(ge=0, lt=1, description="Share of the details of documents that occur online only.")
    ] = 0.25
    trim_repeats: Annotated[
        int, Field(ge=0, description="Cut responses where they begin to repeat this many characters; 0: never.")
    ] = 200
    cost_unit: Annotated[CostUnit, Field(description="Unit in which an edit's cost is counted.")] = "word"
    alpha: Annotated[float, Field(description="How much the late ensemble explores.")] = 0.1
    discounted_alpha: Annotated[float, Field(description="How much late-discounted-ucb explores.")] = 0.1
    discount: Annotated[float, Field(description="What an earlier pull keeps with each later one.")] = 0.95
    thompson_alpha: Annotated[float, Field(description="How much late-thompson explores.")] = 0.1
    c_max: Annotated[float, Field(gt=0, description="The largest cost of a round.")] = 3.0
    max_length: Annotated[
        int, Field(ge=2, description="The most tokens of context and answer that are learned from.")
    ] = 512
    max_new_tokens: Annotated[int, Field(ge=1, description="The most tokens of a response.")] = 160
    user_tokens: Annotated[int, Field(description="The most tokens of an LLM user's reply.")] = 2048
    concurrency: Annotated[int, Field(ge=1, description="The most requests to an LLM user's server at a time.")] = 8
    batch_size: Annotated[int, Field(ge=1, description="Responses generated side by side.")] = 128
    recipe: Annotated[
        Mapping[str, Mapping[str, Any]],
        Field(
            description="Settings of `TrainConfig` by method, where they differ from the model's defaults; those of "
            "the cost model and of policy optimisation are cost.NAME and rl.NAME.",
        ),
    ] = Field(default_factory=dict)

    @field_validator("recipe", mode="before")
    @classmethod
    def _flatten_recipe(cls, value: Any) -> Any:
        """A table in a method's table (`[recipe.rl.cost]` with `epochs`) as dotted names (`cost.epochs`)."""
        if not isinstance(value, Mapping):
            return value
        flat: dict[str, Any] = {}
        for method, own in value.items():
            if not isinstance(own, Mapping):
                detail = f"must be a table; write [recipe.{method}]"
                raise ConfigError(f"recipe.{method}: {detail}", f"recipe.{method}", detail)
            flat[method] = {}
            for name, one in own.items():
                nested = {f"{name}.{inner}": item for inner, item in one.items()} if isinstance(one, Mapping) else None
                flat[method] |= {name: one} if nested is None else nested
        return flat

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in self.columns:
            self._check_scenario(name)
        for task, edits in self.task_edits.items():
            if task not in TASKS:
                raise self._error("task_edits", f"there is no task {task!r}; choose from {', '.join(TASKS)}")
            if edits < 2:
                raise self._error("task_edits", f"{task}: {edits} must be at least 2")
        more = (*self.policies, *(PERSONAL_METHODS if self.personal else ()))
        for field, names in (("methods", (*self.methods, *self.rules)), ("arms", self.arms)):
            if detail := find_method_error(names, more):
                raise self._error(field, detail)
        for name in self.policies:
            if name in list_late_methods():
                raise self._error("policies", f"{name!r} is the name of an ensemble; choose another name")
        for arm in self.arms:
            if arm in list_late_methods():
                raise self._error("arms", f"{arm} is an ensemble and cannot be an arm of one; leave it out")
            if arm not in self.methods:
                raise self._error("arms", f"{arm} is not among --methods; add it there")
        if any(name in list_late_methods() for name in (*self.methods, *self.rules)) and not self.ensemble_arms:
            raise self._error("methods", "the late ensemble has no arms; add sft or another method, or name --arms")
        if min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise self._error("seeds", "each seed must be at least 0 and be given once")
        for method in self.recipe:
            if parse_training_method(method) is None:
                raise _recipe_error(method, f"there is no such training method; choose from {', '.join(METHODS)}")
        for method in METHODS:
            self.make_train_config(method, 0)
        if self.personal:
            self._check_people()
        for method in list_late_methods():
            self.make_rule(method)
        return self

    def _check_people(self) -> None:
        if self.edits < MIN_PERSONAL_EDITS:
            detail = f"{self.edits} must be at least {MIN_PERSONAL_EDITS}, so that everybody has given one"
            raise self._error("edits", detail)
        if self.held_out_edits:
            raise self._error("held_out_edits", "there are none with several people; give 0")
        column = parse_scenario_arg(self.columns[0])
        if len(self.columns) > 1 or column.task not in SCRIPTED_TASKS or column.online_user != column.log_user:
            detail = f"several people play one column, TASK/USER of one of the tasks {', '.join(SCRIPTED_TASKS)}"
            raise self._error("columns", detail)
        for name in self.methods:
            if name not in (BASE_METHOD, *PERSONAL_METHODS, *list_late_methods()):
                raise self._error("methods", f"{name} is not played with several people")

    def _check_scenario(self, name: str) -> None:
        try:
            column = parse_scenario_arg(name)
            get_task(column.task)
            for user in (column.log_user, column.online_user):
                if user not in self.users:
                    get_user(user)
        except InputError as exc:
            raise self._error("columns", f"{name}: {str(exc).partition(': ')[2]}") from None
        for user in (column.log_user, column.online_user):
            if user not in self.users and column.task not in SCRIPTED_TASKS:
                advice = f"only an LLM can be a user of real documents; name one, such as --user {user}=MODEL@URL"
                raise self._error("columns", f"{name}: {advice}")
        if self.needs_log and column.log_user in ONLINE_ONLY and column.log_user not in self.users:
            raise self._error("columns", f"{name}: the user {column.log_user} is met online only and makes no log")
        if column.edits is not None and column.edits < 2:
            raise self._error("columns", f"{name}: a log has at least 2 edits")

    def _error(self, field: str, detail: str) -> ConfigError:
        return make_setting_error(type(self), field, detail)

    @property
    def ensemble_arms(self) -> tuple[str, ...]:
        """The arms of the late ensembles, in the order in which they are first tried."""
        usual = tuple(self.policies) or (PERSONAL_METHODS if self.personal else DEFAULT_ARMS)
        played = tuple(name for name in usual if name in self.methods)
        return self.arms or played or tuple(name for name in METHODS if name in self.methods)

    @property
    def learns_online(self) -> bool:
        """Whether an arm learns from every edit, so that a late ensemble must be played rather than put together."""
        return any(self.find_learner(arm) for arm in self.ensemble_arms)

    @property
    def needs_log(self) -> bool:
        """Whether a log is made: not where all rows are policies that exist already."""
        return any(name not in self.policies and name not in list_late_methods() for name in self.methods)

    @cached_property
    def personal_users(self) -> list[PersonalUser]:
        """The people who share a log, in every column; none if `personal` is off."""
        if not self.personal:
            return []
        return make_personal_users(get_user(parse_scenario_arg(self.columns[0]).log_user), self.edits)

    def find_learner(self, method: str) -> tuple[str, int] | None:
        """The kind of prompt learner and its number of past edits, if the method learns online."""
        return None if method in self.policies else parse_prompted_method(method)

    def count_edits(self, column: Scenario) -> int:
        """The rows n of the log that a column's policies learn from."""
        return column.edits or self.task_edits.get(column.task, self.edits)

    def select_methods(self, column: Scenario) -> tuple[str, ...]:
        """The methods that play in a column."""
        same = column.online_user in (column.log_user, "strong", "transfer") and not column.changes_midway
        return self.methods if same else (*self.methods, *self.rules)

    def make_rule(self, method: str) -> Rule:
        """The rule of a late ensemble.

        The `alpha` of the rule `thompson`, say, is `thompson_alpha` here, else `alpha`, else the rule's default.

        Raises:
            InputError: one of its settings is out of range.
        """
        name = list_late_methods()[method]
        values: dict[str, Any] = {}
        for setting in RULES[name].model_fields:
            for own in (setting, f"{name.partition('-')[0]}_{setting}"):
                if hasattr(self, own):
                    values[setting] = getattr(self, own)
        try:
            return RULES[name](**values)
        except ConfigError as exc:
            raise InputError(f"{method}: {exc.key}: {exc.detail}") from None

    def sampling(self, temperature: float | None = None) -> "Sampling":
        """How responses are drawn, at the online phase's temperature or another."""
        from copydesk.policies.base import Sampling  # its package loads torch

        return Sampling(self.temperature if temperature is None else temperature, self.max_new_tokens, self.batch_size)

    def make_train_config(self, method: str, seed: int, task: str = "", edits: int = 0) -> TrainConfig:
        """The training settings of a method, or of `shared` and `own`, on a log of one task.

        Args:
            method: the method.
            seed: the seed of the run.
            task: the task's name.
            edits: the rows of the log; by default those of the settings.

        Raises:
            InputError: the recipe names an unknown setting, or a value is of the wrong type or out of range.
        """
        if method in PERSONAL_METHODS:
            usual, method = PERSONAL_RECIPE, "sft"
        elif self.model == embedded.NAME:
            usual = get_recipe(method, task, self.selection, edits or self.task_edits.get(task, self.edits))
        else:
            usual = TrainConfig(method=method, held_out=0.0)
        cost = usual.cost.replace(unit=self.cost_unit, c_max=self.c_max)
        usual = usual.replace(seed=seed, max_length=self.max_length, cost=cost)
        parts: dict[str, dict[str, Any]] = {"": {}, "cost": {}, "rl": {}}
        known: dict[str, set[str]] = {
            "": set(type(usual).model_fields) - {"method", "seed", "cost", "rl"},
            "cost": set(type(usual.cost).model_fields),
            "rl": set(type(usual.rl).model_fields),
        }
        for name, value in self.recipe.get(method, {}).items():
            part, _, setting = name.rpartition(".")
            if setting not in known.get(part, ()):
                raise _recipe_error(f"{method}.{name}", "there is no such setting; see `copydesk train --help`")
            parts[part][setting] = value
        try:
            cost, rl = usual.cost.replace(**parts["cost"]), usual.rl.replace(**parts["rl"])
            return usual.replace(**parts[""], cost=cost, rl=rl)
        except InputError as exc:
            raise _recipe_error(method, str(exc)) from None

    def to_json(self) -> dict[str, Any]:
        """Every setting that results depend on, as results.json keeps it, with the training settings of each method."""
        values = {name: getattr(self, name) for name in type(self).model_fields if name != "concurrency"}
        if not self.task_edits:
            del values["task_edits"]
        tasks = list(dict.fromkeys(parse_scenario_arg(name).task for name in self.columns))
        trained = [name for name in (*METHODS, *PERSONAL_METHODS) if name in self.methods and name not in self.policies]
        values["recipe"] = self.recipe_json(trained, tasks)
        if self.personal:
            values |= {"task": tasks[0], "people": {one.name: one.to_json() for one in self.personal_users}}
        return values

    def recipe_json(self, methods: Sequence[str], tasks: Sequence[str] = tuple(TASKS)) -> dict[str, dict[str, Any]]:
        """The training settings of methods, without the seed; by task, where tasks differ."""
        found: dict[str, dict[str, Any]] = {}
        for name in methods:
            every = {task: self.make_train_config(name, 0, task).to_json() for task in tasks}
            for one in every.values():
                del one["seed"]
            shared = next(iter(every.values()))
            found[name] = shared if all(one == shared for one in every.values()) else every
        return found


def _recipe_error(path: str, detail: str) -> ConfigError:
    return ConfigError(f"recipe.{path}: {detail}", f"recipe.{path}", detail)
