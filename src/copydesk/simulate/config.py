"""The settings of a benchmark: its columns (task and users), rows (methods), seeds, sweeps and logs."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from copydesk import embedded
from copydesk.ensemble.rules import RULES, Rule, list_late_methods
from copydesk.errors import InputError
from copydesk.method_registry import METHODS
from copydesk.report.columns import Scenario, parse_scenario
from copydesk.simulate.recipe import get_recipe
from copydesk.simulate.tasks import SCRIPTED_TASKS, get_task
from copydesk.simulate.users import ChangingUser, User, get_user
from copydesk.training.config import TrainConfig
from copydesk.utils.config import Config, ConfigError, Flag, make_setting_error

if TYPE_CHECKING:
    from copydesk.policies.base import Sampling


def parse_scenario_arg(words: str) -> Scenario:
    """Read a column that a user of the command line names.

    Raises:
        InputError: it is not TASK/USER.
    """
    task, _, user = words.partition("/")
    if not task or not user or "/" in user:
        raise InputError(f"--columns {words}: write TASK/USER, such as email/strong or email/strong-to-weak")
    return parse_scenario(words)


def make_online_user(scenario: Scenario, user: Callable[[str], User], rounds: int) -> User:
    """The user of the online rounds, named as the column names it after its task.

    Args:
        scenario: the column.
        user: opens a user by name.
        rounds: T; a user who changes does so after half of them.
    """
    name = scenario.name.partition("/")[2]
    met = user(scenario.online_user)
    if scenario.changes_midway:
        return ChangingUser(name, user(scenario.log_user), met, rounds // 2)
    return met if met.name == name else ChangingUser(name, met, met, 0)


def shift_scenarios(tasks: list[str]) -> list[str]:
    """The columns whose online user is not the user of the log."""
    meetings = ("strong-to-weak", "weak-to-strong", "strong-to-other", "strong-then-other")
    return [f"{task}/{meeting}" for task in tasks for meeting in meetings]


BASE_METHOD = "base"
ORACLE_METHOD = "oracle"

_PROMPTED_PATTERN = re.compile(r"(?P<learner>icl|cipher)-(?P<k>[1-9]\d*)")


def parse_training_method(name: str) -> str | None:
    """The training method of that name, if it is one."""
    return name if name in METHODS else None


def parse_prompted_method(name: str) -> tuple[str, int] | None:
    """The kind of prompt learner (`icl` or `cipher`) and the number of past edits it retrieves, if it is one."""
    found = _PROMPTED_PATTERN.fullmatch(name)
    return None if found is None else (found["learner"], int(found["k"]))


def find_method_error(names: Sequence[str]) -> str:
    """What is wrong with a list of rows: an unknown name, or one that is given twice; empty if nothing is."""
    known = (BASE_METHOD, ORACLE_METHOD, "icl-K", "cipher-K", *METHODS, *list_late_methods())
    for name in names:
        if name not in {*known} - {"icl-K", "cipher-K"} and parse_prompted_method(name) is None:
            return f"there is no method {name!r}; choose from {', '.join(known)} (K: past edits, such as 5)"
        if list(names).count(name) > 1:
            return f"{name} is given twice; name it once"
    return ""


DEFAULT_SCENARIOS = ("summarization/strong", "summarization/weak", "email/strong", "email/weak")
MAY_EXTEND = ("columns", "methods", "rules", "seeds")
"""Settings that a later run into the same folder may extend. All others must stay as they were."""

ScenarioNames = Annotated[
    tuple[str, ...],
    Flag(comma=True, default_text="the poster's four"),
    Field(
        min_length=1,
        description="The columns, as TASK/USER with commas between. A user is strong, weak, transfer, other, weak-0.35 "
        "or erring-0.30; A-to-B and A-then-B name a log of user A and rounds with user B.",
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
    Flag(comma=True, default_text="all trained methods"),
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
        default_factory=dict,
        description="NAME=SPEC: an LLM plays the user NAME; SPEC is MODEL@URL of an OpenAI-compatible server, or a "
        "model. All other users are scripts. May be repeated.",
    ),
]
Encoder = Annotated[
    str | None,
    Flag(default_text="the model's own states"),
    Field(description="The sentence encoder that finds past edits for icl-K and cipher-K."),
]


class ExperimentConfig(Config):
    """The settings of a benchmark; `bench.json` and `results.json` keep them.

    Raises:
        InputError: a name is unknown, or a number is out of range.
    """

    model_config = ConfigDict(strict=True)  # a file's "3" is not 3

    columns: ScenarioNames = DEFAULT_SCENARIOS
    methods: MethodNames = ("base", *METHODS, "late")
    rules: Annotated[
        tuple[str, ...],
        Field(description="Late ensembles by other rules: rows of the columns with another user than that of the log."),
    ] = ()
    seeds: Seeds = (0, 1, 2)
    rounds: Annotated[int, Field(ge=1, description="The online rounds T of every method.")] = 200
    edits: Annotated[int, Field(ge=2, description="The rows n of every log.")] = 300
    model: Annotated[
        str, Field(description="The model that learns, the reference policy: embedded, smollm2, a folder or a hub id.")
    ] = embedded.NAME
    users: LlmUsers
    arms: Arms = ()
    encoder: Encoder = None
    temperature: Annotated[
        float, Field(ge=0, description="Of the responses online; those of the log are drawn at 1, from π_ref itself.")
    ] = 0.7
    alpha: Annotated[float, Field(description="How much the late ensemble explores.")] = 0.3
    discounted_alpha: Annotated[float, Field(description="How much late-discounted-ucb explores.")] = 0.1
    discount: Annotated[float, Field(description="What an earlier pull keeps with each later one.")] = 0.95
    thompson_alpha: Annotated[float, Field(description="How much late-thompson explores.")] = 0.1
    c_max: Annotated[float, Field(description="The largest cost of a round.")] = 3.0
    max_length: Annotated[
        int, Field(ge=2, description="The most tokens of context and answer that are learned from.")
    ] = 512
    max_new_tokens: Annotated[int, Field(ge=1, description="The most tokens of a response.")] = 160
    user_tokens: Annotated[int, Field(description="The most tokens of an LLM user's reply.")] = 2048
    batch_size: Annotated[int, Field(ge=1, description="Responses generated side by side.")] = 128
    recipe: Annotated[
        Mapping[str, Mapping[str, Any]],
        Field(
            default_factory=dict,
            description="Settings of `TrainConfig` by method, where they differ from the model's defaults; those of "
            "the cost model and of policy optimisation are cost.NAME and rl.NAME.",
        ),
    ]

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
        for field, names in (("methods", (*self.methods, *self.rules)), ("arms", self.arms)):
            if detail := find_method_error(names):
                raise self._error(field, detail)
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
        for method in list_late_methods():
            self.make_rule(method)
        return self

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
        if column.edits is not None and column.edits < 2:
            raise self._error("columns", f"{name}: a log has at least 2 edits")

    def _error(self, field: str, detail: str) -> ConfigError:
        return make_setting_error(type(self), field, detail)

    @property
    def ensemble_arms(self) -> tuple[str, ...]:
        """The arms of the late ensembles, in the order in which they are first tried."""
        return self.arms or tuple(name for name in METHODS if name in self.methods)

    @property
    def learns_online(self) -> bool:
        """Whether an arm learns from every edit, so that a late ensemble must be played rather than put together."""
        return any(parse_prompted_method(arm) for arm in self.ensemble_arms)

    def select_methods(self, column: Scenario) -> tuple[str, ...]:
        """The methods that play in a column."""
        return self.methods if column.online_user == column.log_user else (*self.methods, *self.rules)

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

    def make_train_config(self, method: str, seed: int) -> TrainConfig:
        """The training settings of a method.

        Raises:
            InputError: the recipe names an unknown setting, or a value is of the wrong type or out of range.
        """
        usual = get_recipe(method) if self.model == embedded.NAME else TrainConfig(method=method, held_out=0.0)
        usual = usual.replace(seed=seed, max_length=self.max_length)
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
        """Every setting, as results.json keeps it, with the training settings of each method."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return values | {"recipe": self.recipe_json([name for name in METHODS if name in self.methods])}

    def recipe_json(self, methods: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The training settings of methods, without the seed."""
        every = {name: self.make_train_config(name, 0).to_json() for name in methods}
        return {name: {k: v for k, v in one.items() if k != "seed"} for name, one in every.items()}


def _recipe_error(path: str, detail: str) -> ConfigError:
    return ConfigError(f"recipe.{path}: {detail}", f"recipe.{path}", detail)


SWEEP_STRENGTHS = (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95)
SWEEP_EDITS = (50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0)


def sweep_scenarios(settings: ExperimentConfig, sweep: str, values: Sequence[float] = ()) -> ExperimentConfig:
    """The settings of a sweep: a column for every value, for each task (and, over n, user) of the columns given.

    Late ensembles are left out: the sweep compares what is learned offline.

    Args:
        settings: of the table.
        sweep: `strength`, the chance p that the user fixes an error, or `n`, the rows of the log.
        values: the points of the sweep; the default ones if empty.

    Raises:
        InputError: there is no such sweep, a value is out of range, or no method is left.
    """
    columns = [parse_scenario_arg(name) for name in settings.columns]
    if sweep == "strength":
        for value in values:
            if not 0 < value <= 1:
                raise InputError(f"--values: {value:g} is no strength; give numbers above 0 and at most 1")
        tasks = list(dict.fromkeys(column.task for column in columns))
        names = [f"{task}/weak-{value:.2f}-to-strong" for task in tasks for value in values or SWEEP_STRENGTHS]
    elif sweep == "n":
        for value in values:
            if value < 2 or value != int(value):
                raise InputError(f"--values: a log cannot have {value:g} edits; give whole numbers of at least 2")
        plain = list(dict.fromkeys((column.task, column.log_user) for column in columns))
        names = [f"{task}/{user}-n{int(value)}" for task, user in plain for value in values or SWEEP_EDITS]
    else:
        raise InputError(f"--sweep {sweep}: there is no such sweep; choose strength or n")
    methods = tuple(name for name in settings.methods if name not in list_late_methods())
    if not methods:
        raise InputError("--methods: a sweep compares what is learned offline; name one that is not a late ensemble")
    return settings.replace(columns=tuple(dict.fromkeys(names)), methods=methods, arms=())


@dataclass(frozen=True)
class LogRun:
    """One log and the columns whose policies learn from it.

    Attributes:
        task: name of the task.
        log_user: the user who made the log.
        edits: its rows.
        seed: of all random numbers.
        scenarios: the columns in which the policies are played.
    """

    task: str
    log_user: str
    edits: int
    seed: int
    scenarios: tuple[Scenario, ...]

    @property
    def name(self) -> str:
        """Its name in files."""
        return f"{self.task}-{self.log_user}-n{self.edits}-{self.seed}"


def list_log_runs(settings: ExperimentConfig) -> list[LogRun]:
    """The logs of a benchmark, those of the first seed first."""
    by_log: dict[tuple[str, str, int], list[Scenario]] = {}
    for column in map(parse_scenario_arg, settings.columns):
        by_log.setdefault((column.task, column.log_user, column.edits or settings.edits), []).append(column)
    return [LogRun(*log, seed, tuple(columns)) for seed in settings.seeds for log, columns in by_log.items()]
