"""One repetition: a log is drawn, every learner learns from it, and SubOpt says how well."""

from collections.abc import Mapping

import numpy as np

from copydesk.theory.bounds import rl_width
from copydesk.theory.lab import Setting
from copydesk.theory.learners import learn_dpo, learn_early, learn_rl, learn_sft
from copydesk.theory.log import Log
from copydesk.theory.tables import fit_cost_table, fit_table

LEARNERS = ("sft", "dpo", "rl", "early")
DELTA = 0.05
"""δ: how often a bound may fail."""
SUPERVISION = 0.3
"""λ of the early ensemble, fixed before anything was measured."""


def learn(setting: Setting, log: Log) -> dict[str, int]:
    """What each learner chooses from the class: the number of a member."""
    members = setting.members
    return {
        "sft": learn_sft(members, log),
        "dpo": learn_dpo(members, log),
        "rl": learn_rl(members, log, rl_width(setting.coefficients, log.n, DELTA)),
        "early": learn_early(members, log, SUPERVISION),
    }


def left_to_gain(setting: Setting, chosen: Mapping[str, int]) -> dict[str, float]:
    """SubOpt of each choice, in units of cost."""
    return {name: setting.world.problem.suboptimality(setting.members.policies[k]) for name, k in chosen.items()}


def learn_tables(setting: Setting, log: Log) -> dict[str, float]:
    """SubOpt of each learner without a class: softmax tables trained to convergence."""
    problem = setting.world.problem
    reference = problem.reference
    largest = setting.coefficients.c_max
    doubt = float(np.sqrt(np.log(reference.size / DELTA)))
    tables = {
        "sft": fit_table(reference, log, preference=0, supervision=1),
        "dpo": fit_table(reference, log, preference=1, supervision=0),
        "rl": fit_cost_table(reference, log, problem.beta, largest, doubt),
        "early": fit_table(reference, log, preference=1, supervision=SUPERVISION),
    }
    return {name: problem.suboptimality(table) for name, table in tables.items()}
