"""Logs of the tabular lab for tests."""

import numpy as np

from copydesk.theory.lab import LabSetting
from copydesk.theory.learners import LabLog


def expected_log(setting: LabSetting, n: int = 10**9) -> LabLog:
    """A log so long that shares are probabilities."""
    world = setting.world
    joint = world.problem.contexts[:, None, None] * world.problem.reference[:, :, None] * world.edits
    return LabLog(np.rint(joint * n).astype(np.int64), world.distance)
