"""Sweeps: the same table over many strengths of the user, or many lengths of the log."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from copydesk.errors import InputError
from copydesk.simulate.column import parse_scenario_arg
from copydesk.simulate.config import ExperimentConfig
from copydesk.simulate.methods import LATE_METHODS

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
