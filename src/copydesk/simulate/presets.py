"""Configurations of experiments: the demo, several people, policies played alone, harder users, and sweeps.

The paper's tables are the defaults of `ExperimentConfig`.
"""

from collections.abc import Mapping, Sequence

from copydesk.ensemble.rules import list_late_methods
from copydesk.errors import InputError
from copydesk.method_registry import METHODS
from copydesk.simulate.config import (
    BASE_METHOD,
    DEFAULT_ARMS,
    PERSONAL_METHODS,
    ExperimentConfig,
    parse_scenario_arg,
)
from copydesk.simulate.tasks import SCRIPTED_TASKS, get_task
from copydesk.simulate.users import get_user

LATE_POLICY = "late"
"""The name of the ensemble of all policies, which none of them may have."""

_DEMO_EDITS = 300
_DEMO_HELD_OUT = 50
_SWEEP_PROBABILITIES = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 1.0)
_SWEEP_EDITS = (100.0, 300.0, 1000.0, 3000.0, 10_000.0)


def make_demo_config(
    *,
    task: str = "email",
    user: str = "weak",
    met_by: str = "strong",
    edits: int = _DEMO_EDITS,
    rounds: int = 200,
    seed: int = 0,
) -> ExperimentConfig:
    """One task, one log and one seed, with a policy of every method.

    Args:
        task: what is written.
        user: the one whose edits are logged.
        met_by: the user of the online rounds.
        edits: n of the log.
        rounds: T.
        seed: of documents, responses, edits and training.

    Raises:
        InputError: there is no such task or user, or a number is out of range.
    """
    return ExperimentConfig(
        columns=(_name_column(task, user, met_by),),
        methods=(BASE_METHOD, *METHODS, LATE_POLICY),
        arms=DEFAULT_ARMS,
        seeds=(seed,),
        rounds=rounds,
        edits=edits,
        held_out_edits=_DEMO_HELD_OUT,
        selection="unfixed",
    )


def make_personal_config(
    *, task: str = "email", user: str = "strong", edits: int = _DEMO_EDITS, rounds: int = 200, seed: int = 0
) -> ExperimentConfig:
    """Six people of different tastes share a log: Base, a policy from all edits, an adapter each, and an ensemble each.

    Args:
        task: what is written; a scripted one.
        user: the one whom all people are like in everything but taste.
        edits: n of the log, of all people together.
        rounds: T of each person.
        seed: of documents, responses, edits and training.

    Raises:
        InputError: as in `make_demo_config`; or there are too few edits for everybody to have given one.
    """
    if task not in SCRIPTED_TASKS:
        get_task(task)
        raise InputError(f"--task: {task}: people with different tastes need one of {', '.join(SCRIPTED_TASKS)}")
    return ExperimentConfig(
        columns=(_name_column(task, user, user),),
        methods=(BASE_METHOD, *PERSONAL_METHODS, LATE_POLICY),
        personal=True,
        seeds=(seed,),
        rounds=rounds,
        edits=edits,
        held_out_edits=0,
    )


def make_simulation_config(
    policies: Mapping[str, str],
    *,
    task: str = "email",
    met_by: str = "strong",
    rounds: int = 200,
    seed: int = 0,
    temperature: float = 0.0,
    alpha: float = 0.1,
    exclude_logs: Sequence[str] = (),
) -> ExperimentConfig:
    """The online phase of policies that exist already, and of a late ensemble where there are several.

    Args:
        policies: the spec of each arm by its name, in the order they are first tried.
        task: what is written.
        met_by: the user of the rounds.
        rounds: T.
        seed: of documents, responses and edits.
        temperature: of the responses.
        alpha: how much the ensemble explores.
        exclude_logs: the logs that the policies learned from, whose documents are not met.

    Raises:
        InputError: there is no such task or user, no policy, or a number is out of range.
    """
    if not policies:
        raise InputError("--policy: there is none; name at least one, such as base=embedded")
    if LATE_POLICY in policies:
        raise InputError(f"--policy: {LATE_POLICY!r} is the name of the ensemble of all; choose another name")
    return ExperimentConfig(
        columns=(_name_column(task, met_by, met_by),),
        methods=(*policies, *((LATE_POLICY,) if len(policies) > 1 else ())),
        policies=policies,
        exclude_logs=tuple(exclude_logs),
        seeds=(seed,),
        rounds=rounds,
        temperature=temperature,
        alpha=alpha,
    )


def _name_column(task: str, user: str, met_by: str) -> str:
    get_task(task)
    for name in (user, met_by):
        get_user(name)
    return f"{task}/{user}" if user == met_by else f"{task}/{user}-to-{met_by}"


def add_harder_users(config: ExperimentConfig) -> ExperimentConfig:
    """The settings with columns of users of another taste, who change halfway or who make errors.

    In columns of another taste, late ensembles by every rule are rows as well.
    """
    tasks = list(dict.fromkeys(parse_scenario_arg(name).task for name in config.columns))
    more = [name for name in list_harder_scenarios(tasks) if name not in config.columns]
    late = list_late_methods() if LATE_POLICY in config.methods else ()
    rules = tuple(name for name in late if name not in config.methods)
    return config.replace(columns=(*config.columns, *more), rules=rules)


def list_harder_scenarios(tasks: Sequence[str]) -> list[str]:
    """The columns of other tastes, changes and errors."""
    meetings = ("strong-to-weak", "strong-to-other", "strong-then-other", "erring-0.30", "erring-0.30-to-strong")
    return [f"{task}/{meeting}" for task in tasks for meeting in meetings]


def add_more_methods(config: ExperimentConfig) -> ExperimentConfig:
    """The settings with every training method as a row; the arms of the late ensembles stay."""
    trained = tuple(name for name in METHODS if name not in config.methods)
    return config.replace(methods=(*config.methods, *trained), arms=config.ensemble_arms)


def sweep_scenarios(settings: ExperimentConfig, sweep: str, values: Sequence[float] = ()) -> ExperimentConfig:
    """The settings of a sweep: a column for every value, for each task (and, over n, user) of the columns given.

    Late ensembles are left out: the sweep compares what is learned offline. So are columns met by the transfer user:
    the policies are those of the columns met by the strong one.

    Args:
        settings: of the table.
        sweep: `strength`, the probability that the weak user attends to a preference, or `n`, the rows of the log.
        values: the points of the sweep; the default ones if empty.

    Raises:
        InputError: there is no such sweep, a value is out of range, or no method is left.
    """
    columns = [parse_scenario_arg(name) for name in settings.columns]
    if sweep == "strength":
        for value in values:
            if not 0 < value <= 1:
                raise InputError(f"--values: {value:g} is no probability; give numbers above 0 and at most 1")
        tasks = list(dict.fromkeys(column.task for column in columns))
        names = [
            f"{task}/weak-{_format_probability(value)}-to-strong"
            for task in tasks
            for value in values or _SWEEP_PROBABILITIES
        ]
    elif sweep == "n":
        for value in values:
            if value < 2 or value != int(value):
                raise InputError(f"--values: a log cannot have {value:g} edits; give whole numbers of at least 2")
        kept = [column for column in columns if column.online_user != "transfer"] or columns
        plain = list(dict.fromkeys(column.name.partition("-n")[0] if column.edits else column.name for column in kept))
        names = [f"{name}-n{int(value)}" for name in plain for value in values or _SWEEP_EDITS]
    else:
        raise InputError(f"--sweep {sweep}: there is no such sweep; choose strength or n")
    methods = tuple(name for name in settings.methods if name not in list_late_methods())
    if not methods:
        raise InputError("--methods: a sweep compares what is learned offline; name one that is not a late ensemble")
    return settings.replace(columns=tuple(dict.fromkeys(names)), methods=methods, arms=())


def _format_probability(value: float) -> str:
    """A probability as users are named by it; 1 is written with a point, since `weak-1` attends to one preference."""
    return f"{value:g}" if value < 1 else "1.0"
