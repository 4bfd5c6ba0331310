"""Logs of the tabular lab for tests."""

import numpy as np

from copydesk.theory.lab import Setting
from copydesk.theory.log import Log


def expected_log(setting: Setting, n: int = 10**9) -> Log:
    """A log so long that shares are probabilities."""
    world = setting.world
    joint = world.problem.contexts[:, None, None] * world.problem.reference[:, :, None] * world.edits
    return Log(np.rint(joint * n).astype(np.int64), world.distance)
