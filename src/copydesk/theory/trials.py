"""One repetition: a log is drawn, every learner learns from it, and SubOpt says how well."""

from collections.abc import Mapping

import numpy as np

from copydesk.theory.bounds import rl_width
from copydesk.theory.lab import LabSetting
from copydesk.theory.learners import select_dpo_member, select_early_member, select_rl_member, select_sft_member
from copydesk.theory.log import LabLog
from copydesk.theory.tables import fit_cost_table, fit_table

LEARNERS = ("sft", "dpo", "rl", "early")
BOUND_DELTA = 0.05
"""δ: how often a bound may fail."""
EARLY_LAMBDA = 0.3
"""λ of the early ensemble, fixed before anything was measured."""


def select_members(setting: LabSetting, log: LabLog) -> dict[str, int]:
    """What each learner chooses from the class: the number of a member."""
    members = setting.members
    return {
        "sft": select_sft_member(members, log),
        "dpo": select_dpo_member(members, log),
        "rl": select_rl_member(members, log, rl_width(setting.coefficients, log.n, BOUND_DELTA)),
        "early": select_early_member(members, log, EARLY_LAMBDA),
    }


def compute_subopt(setting: LabSetting, chosen: Mapping[str, int]) -> dict[str, float]:
    """SubOpt of each choice, in units of cost."""
    return {name: setting.world.problem.suboptimality(setting.members.policies[k]) for name, k in chosen.items()}


def compute_table_subopt(setting: LabSetting, log: LabLog) -> dict[str, float]:
    """SubOpt of each learner without a class: softmax tables trained to convergence."""
    problem = setting.world.problem
    reference = problem.reference
    largest = setting.coefficients.c_max
    doubt = float(np.sqrt(np.log(reference.size / BOUND_DELTA)))
    tables = {
        "sft": fit_table(reference, log, preference=0, supervision=1),
        "dpo": fit_table(reference, log, preference=1, supervision=0),
        "rl": fit_cost_table(reference, log, problem.beta, largest, doubt),
        "early": fit_table(reference, log, preference=1, supervision=EARLY_LAMBDA),
    }
    return {name: problem.suboptimality(table) for name, table in tables.items()}
