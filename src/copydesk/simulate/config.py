"""What a benchmark is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from copydesk import embedded
from copydesk.ensemble import DiscountedUcb, Rule, Thompson, Ucb
from copydesk.errors import InputError
from copydesk.policies import Sampling
from copydesk.report.columns import Scenario
from copydesk.simulate.column import parse_scenario_arg
from copydesk.simulate.methods import LATE_METHODS, check_methods, parse_prompted_method, parse_training_method
from copydesk.simulate.recipe import RECIPE
from copydesk.simulate.tasks import SCRIPTED_TASKS, get_task
from copydesk.simulate.users import get_user
from copydesk.training.config import METHODS, Method, TrainConfig

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
        except ValueError as fault:
            raise InputError(f"{method}: {fault}") from None

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
        except TypeError as fault:
            raise InputError(f"recipe.{method}: a value is of the wrong type ({fault}); mend it") from None

    def to_json(self) -> dict[str, Any]:
        """Every setting, as results.json keeps it, with how each method is trained."""
        recipe = self.recipe_json([name for name in METHODS if name in self.methods])
        return asdict(self) | {"users": dict(self.users), "recipe": recipe}

    def recipe_json(self, methods: Sequence[Method]) -> dict[str, dict[str, Any]]:
        """How methods are trained, whatever the seed."""
        every = {name: self.make_train_config(name, 0).to_json() for name in methods}
        return {name: {k: v for k, v in one.items() if k != "seed"} for name, one in every.items()}
