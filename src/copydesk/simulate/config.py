"""What a benchmark is made of.

A benchmark's settings in a TOML file.

Who is met in a column of a table.

The rows of a table, by name.

Sweeps: the same table over many strengths of the user, or many lengths of the log.

A cell: one log, of one user and seed, from which every method learns, and the columns that it is played in.
"""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

from copydesk import embedded
from copydesk.ensemble import DiscountedUcb, Rule, Thompson, Ucb
from copydesk.errors import InputError
from copydesk.policies import Sampling
from copydesk.report.columns import Scenario, parse_scenario
from copydesk.simulate.recipe import RECIPE
from copydesk.simulate.tasks import SCRIPTED_TASKS, get_task
from copydesk.simulate.users import ChangingUser, User, get_user
from copydesk.training.config import METHODS, Method, TrainConfig
from copydesk.utils.atomic import open_to_read


def parse_scenario_arg(words: str) -> Scenario:
    """Read a column that was asked for.

    Raises:
        InputError: it is not TASK/USER.
    """
    task, _, user = words.partition("/")
    if not task or not user or "/" in user:
        raise InputError(f"--columns {words}: write TASK/USER, such as email/strong or email/strong-to-weak")
    return parse_scenario(words)


def make_online_user(scenario: Scenario, user: Callable[[str], User], rounds: int) -> User:
    """Who is met online, under the name the column has behind its task.

    Args:
        scenario: where.
        user: opens a user by name.
        rounds: T, after half of which a user changes who does.
    """
    name = scenario.name.partition("/")[2]
    met = user(scenario.online_user)
    if scenario.changes_midway:
        return ChangingUser(name, user(scenario.log_user), met, rounds // 2)
    return met if met.name == name else ChangingUser(name, met, met, 0)


def shift_scenarios(tasks: list[str]) -> list[str]:
    """The columns in which somebody else is met online than the one whose log was learnt from."""
    meetings = ("strong-to-weak", "weak-to-strong", "strong-to-other", "strong-then-other")
    return [f"{task}/{meeting}" for task in tasks for meeting in meetings]


BASE_METHOD = "base"
ORACLE_METHOD = "oracle"
LATE_METHODS = ("late", "late-discounted-ucb", "late-thompson")
"""The late ensemble by each rule; `late` is Algorithm 1."""

_PROMPTED_PATTERN = re.compile(r"(?P<learner>icl|cipher)-(?P<k>[1-9]\d*)")


def parse_training_method(name: str) -> Method | None:
    """The training method of that name, if it is one."""
    return cast(Method, name) if name in get_args(Method) else None


def parse_prompted_method(name: str) -> tuple[str, int] | None:
    """What kind of prompt learner that is (`icl` or `cipher`) and how many past edits it retrieves, if it is one."""
    found = _PROMPTED_PATTERN.fullmatch(name)
    return None if found is None else (found["learner"], int(found["k"]))


def check_methods(names: Sequence[str], option: str = "--methods") -> None:
    """Refuse names that are no rows.

    Raises:
        InputError: one is unknown, or stands there twice.
    """
    for name in names:
        if (
            name not in (BASE_METHOD, ORACLE_METHOD, *LATE_METHODS)
            and parse_training_method(name) is None
            and parse_prompted_method(name) is None
        ):
            known = ", ".join((BASE_METHOD, ORACLE_METHOD, "icl-K", "cipher-K", *METHODS, *LATE_METHODS))
            raise InputError(f"{option}: there is no method {name!r}; choose from {known} (K: past edits, such as 5)")
        if list(names).count(name) > 1:
            raise InputError(f"{option}: {name} stands there twice; name it once")


DEFAULT_SCENARIOS = ("summarization/strong", "summarization/weak", "email/strong", "email/weak")
MAY_EXTEND = ("columns", "methods", "rules", "seeds")
"""What a later run into the same folder may add to. All else must stay as it was."""


@dataclass(frozen=True)
class ExperimentConfig:
    """What a benchmark is made of.

    Attributes:
        columns: the names of the columns; see `copydesk.report.columns.Scenario`.
        methods: the rows.
        rules: late ensembles by other rules, rows in those columns where somebody else is met than the user of the log.
        seeds: each redraws the log, the training and the rounds.
        rounds: T, the online rounds of every method.
        edits: n, the rows of a log.
        model: π_ref, as `load_model` takes it.
        users: LLM users: what answers for them, by name, as `open_policy` takes it. All others are scripts.
        arms: what the late ensembles choose from; empty takes every trained method among `methods`.
        encoder: a sentence encoder that retrieves past edits for prompt learners; `None` takes the model's own states.
        temperature: of the responses online; those of the log are drawn at 1, from π_ref itself.
        alpha: how much the late ensemble explores.
        discounted_alpha: the same of `late-discounted-ucb`.
        discount: of `late-discounted-ucb`.
        thompson_alpha: of `late-thompson`.
        c_max: the largest cost of a round.
        max_length: the most tokens of context and answer that are learnt from.
        max_new_tokens: where a response that does not end is cut off.
        user_tokens: where a reply of an LLM user is cut off.
        batch_size: responses written side by side.
        recipe: settings of `TrainConfig` for each method that differ from the model's usual ones; those of the cost
            model and of policy optimisation as `cost.NAME` and `rl.NAME`.

    Raises:
        InputError: a name is unknown or a number makes no sense.
    """

    columns: tuple[str, ...] = DEFAULT_SCENARIOS
    methods: tuple[str, ...] = ("base", *METHODS, "late")
    rules: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    rounds: int = 200
    edits: int = 300
    model: str = embedded.NAME
    users: Mapping[str, str] = field(default_factory=dict)
    arms: tuple[str, ...] = ()
    encoder: str | None = None
    temperature: float = 0.7
    alpha: float = 0.3
    discounted_alpha: float = 0.1
    discount: float = 0.95
    thompson_alpha: float = 0.1
    c_max: float = 3.0
    max_length: int = 512
    max_new_tokens: int = 160
    user_tokens: int = 2048
    batch_size: int = 128
    recipe: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("columns", "methods", "seeds"):
            if not getattr(self, name):
                raise InputError(f"--{name}: there is none; name at least one")
        for column in map(parse_scenario_arg, self.columns):
            get_task(column.task)
            for user in dict.fromkeys((column.log_user, column.online_user)):
                if user in self.users:
                    continue
                get_user(user)
                if column.task not in SCRIPTED_TASKS:
                    raise InputError(
                        f"--columns {column.name}: only an LLM can be a user of real documents; say which, such as "
                        f"--user {user}=MODEL@URL"
                    )
            if column.edits is not None and column.edits < 2:
                raise InputError(f"--columns {column.name}: a log has at least 2 edits")
        check_methods((*self.methods, *self.rules))
        check_methods(self.arms, "--arms")
        for arm in self.arms:
            if arm in LATE_METHODS:
                raise InputError(f"--arms: {arm} is an ensemble and cannot be an arm of one; leave it out")
            if arm not in self.methods:
                raise InputError(f"--arms: {arm} is not among --methods; add it there")
        if any(name in LATE_METHODS for name in (*self.methods, *self.rules)) and not self.ensemble_arms:
            raise InputError("--methods: the late ensemble has no arms; add sft or another method, or name --arms")
        for name, least in (("rounds", 1), ("edits", 2), ("max_length", 2)):
            if getattr(self, name) < least:
                raise InputError(f"--{name.replace('_', '-')}: {getattr(self, name)} must be at least {least}")
        if min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise InputError("--seeds: each must be at least 0 and stand there once")
        for method in self.recipe:
            if parse_training_method(method) is None:
                raise InputError(f"recipe.{method}: there is no such training method; choose from {', '.join(METHODS)}")
        for name in METHODS:
            self.make_train_config(name, 0)
        self.sampling()
        for name in LATE_METHODS:
            self.make_rule(name)

    @property
    def ensemble_arms(self) -> tuple[str, ...]:
        """The arms of the late ensembles, in the order in which they are first tried."""
        return self.arms or tuple(name for name in METHODS if name in self.methods)

    @property
    def learns_online(self) -> bool:
        """Whether an arm learns from every edit, so that a late ensemble must be played and not put together."""
        return any(parse_prompted_method(arm) for arm in self.ensemble_arms)

    def select_methods(self, column: Scenario) -> tuple[str, ...]:
        """The methods that play in a column."""
        return self.methods if column.online_user == column.log_user else (*self.methods, *self.rules)

    def make_rule(self, method: str) -> Rule:
        """How a late ensemble chooses.

        Raises:
            InputError: one of its numbers makes no sense.
        """
        try:
            match method:
                case "late-discounted-ucb":
                    return DiscountedUcb(self.discounted_alpha, self.discount)
                case "late-thompson":
                    return Thompson(self.thompson_alpha)
                case _:
                    return Ucb(self.alpha)
        except ValueError as exc:
            raise InputError(f"{method}: {exc}") from None

    def sampling(self, temperature: float | None = None) -> Sampling:
        """How responses are drawn, at the online phase's temperature or another."""
        return Sampling(self.temperature if temperature is None else temperature, self.max_new_tokens, self.batch_size)

    def make_train_config(self, method: Method, seed: int) -> TrainConfig:
        """How a method is trained.

        Raises:
            InputError: the recipe names a setting that is none, or gives it a value that makes no sense.
        """
        usual = RECIPE[method] if self.model == embedded.NAME else TrainConfig(method=method, held_out=0.0)
        usual = replace(usual, seed=seed, max_length=self.max_length)
        own = self.recipe.get(method, {})
        parts: dict[str, dict[str, Any]] = {"": {}, "cost": {}, "rl": {}}
        settable: dict[str, set[str]] = {
            "": {one.name for one in fields(usual)} - {"method", "seed", "cost", "rl"},
            "cost": {one.name for one in fields(usual.cost)},
            "rl": {one.name for one in fields(usual.rl)},
        }
        for name, value in own.items():
            part, _, rest = name.rpartition(".")
            if rest not in settable.get(part, ()):
                raise InputError(f"recipe.{method}.{name}: there is no such setting; see `copydesk train --help`")
            parts[part][rest] = value
        try:
            return replace(
                usual,
                **parts[""],
                cost=replace(usual.cost, **parts["cost"]),
                rl=replace(usual.rl, **parts["rl"]),
            )
        except TypeError as exc:
            raise InputError(f"recipe.{method}: a value is of the wrong type ({exc}); mend it") from None

    def to_json(self) -> dict[str, Any]:
        """Every setting, as results.json keeps it, with how each method is trained."""
        recipe = self.recipe_json([name for name in METHODS if name in self.methods])
        return asdict(self) | {"users": dict(self.users), "recipe": recipe}

    def recipe_json(self, methods: Sequence[Method]) -> dict[str, dict[str, Any]]:
        """How methods are trained, whatever the seed."""
        every = {name: self.make_train_config(name, 0).to_json() for name in methods}
        return {name: {k: v for k, v in one.items() if k != "seed"} for name, one in every.items()}


_LIST_FIELDS = ("columns", "methods", "seeds", "arms")
_TABLE_FIELDS = ("users", "recipe")


def read_experiment_config(path: Path) -> dict[str, Any]:
    """The settings in a file, by the names of `ExperimentConfig`.

    `[recipe.rl.cost]` with a setting `epochs` is `cost.epochs` of `[recipe.rl]`.

    Raises:
        InputError: it cannot be read, is no TOML, or names a setting that there is none of.
    """
    with open_to_read(path) as file:
        try:
            found = tomllib.load(file)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
            raise InputError(f"{path}: no TOML file ({exc}); mend it") from None
    known = {one.name: one for one in fields(ExperimentConfig)}
    for name, value in found.items():
        if name not in known:
            raise InputError(f"{path}, field {name}: there is no such setting; choose from {', '.join(known)}")
        if name in _LIST_FIELDS and not isinstance(value, list):
            raise InputError(f"{path}, field {name}: must be a list, such as [{value!r}]")
        if name in _TABLE_FIELDS and not (isinstance(value, dict)):
            raise InputError(f"{path}, field {name}: must be a table; write [{name}] and one setting a line below it")
        usual = known[name].default
        if isinstance(usual, int | float | str) and not _matches_type(value, usual):
            raise InputError(f"{path}, field {name}: {value!r} must be {_TYPE_NAMES[type(usual)]}")
    recipe = {method: _flatten_recipe(path, method, own) for method, own in found.get("recipe", {}).items()}
    lists = {name: tuple(value) for name, value in found.items() if name in _LIST_FIELDS}
    return found | lists | ({"recipe": recipe} if recipe else {})


_TYPE_NAMES = {int: "a whole number", float: "a number", str: "text"}


def _matches_type(value: Any, usual: int | float | str) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int | float) if isinstance(usual, float) else isinstance(value, type(usual))


def _flatten_recipe(path: Path, method: str, own: Any) -> dict[str, Any]:
    if not isinstance(own, dict):
        raise InputError(f"{path}, field recipe.{method}: must be a table; write [recipe.{method}]")
    flat: dict[str, Any] = {}
    for name, value in own.items():
        flat |= {f"{name}.{inner}": one for inner, one in value.items()} if isinstance(value, dict) else {name: value}
    return flat


SweepParameter = Literal["strength", "n"]
SWEEP_STRENGTHS = (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95)
SWEEP_EDITS = (50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0)


def sweep_scenarios(settings: ExperimentConfig, sweep: str, values: Sequence[float] = ()) -> ExperimentConfig:
    """The settings of a sweep: a column for every value, for each task (and, over n, user) of the columns given.

    Late ensembles are left out: the sweep compares what is learnt offline.

    Args:
        settings: of the table.
        sweep: `strength`, the chance p that a fault is mended, or `n`, the rows of the log.
        values: where to look; the usual ones if empty.

    Raises:
        InputError: there is no such sweep, a value makes no sense, or no method is left.
    """
    columns = [parse_scenario_arg(name) for name in settings.columns]
    if sweep == "strength":
        for value in values:
            if not 0 < value <= 1:
                raise InputError(f"--values: a strength of {value:g} is none; give numbers above 0 and at most 1")
        tasks = list(dict.fromkeys(column.task for column in columns))
        names = [f"{task}/p{value:g}" for task in tasks for value in values or SWEEP_STRENGTHS]
    elif sweep == "n":
        for value in values:
            if value < 2 or value != int(value):
                raise InputError(f"--values: a log cannot have {value:g} edits; give whole numbers of at least 2")
        plain = list(dict.fromkeys((column.task, column.log_user) for column in columns))
        names = [f"{task}/{user}-n{int(value)}" for task, user in plain for value in values or SWEEP_EDITS]
    else:
        raise InputError(f"--sweep {sweep}: there is no such sweep; choose strength or n")
    methods = tuple(name for name in settings.methods if name not in LATE_METHODS)
    if not methods:
        raise InputError("--methods: a sweep compares what is learnt offline; name one that is no late ensemble")
    return replace(settings, columns=tuple(dict.fromkeys(names)), methods=methods, arms=())


@dataclass(frozen=True)
class LogRun:
    """One log and the columns whose policies learn from it.

    Attributes:
        task: name of the task.
        log_user: the user who made the log.
        edits: its rows.
        seed: of all that is random.
        scenarios: where what was learnt is played.
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
    """The cells of a benchmark, those of the first seed first."""
    by_log: dict[tuple[str, str, int], list[Scenario]] = {}
    for column in map(parse_scenario_arg, settings.columns):
        by_log.setdefault((column.task, column.log_user, column.edits or settings.edits), []).append(column)
    return [LogRun(*log, seed, tuple(columns)) for seed in settings.seeds for log, columns in by_log.items()]
