"""What a policy is that learns from each edit at once."""

from collections.abc import Sequence
from typing import Protocol

from copydesk.data.record import EditRecord
from copydesk.policies.base import Policy


class Learner(Policy, Protocol):
    """A policy with a memory of edits. Only `learn` changes it; `respond` leaves the memory as it is."""

    def learn(self, records: Sequence[EditRecord]) -> None:
        """Take in rows, edited or accepted: a whole log before the first round, or one edit after each.

        Pending rows are left out. If it raises, nothing was learnt.
        """
        ...
