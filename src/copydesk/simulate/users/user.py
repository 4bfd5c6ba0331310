"""What every simulated user is: somebody who turns responses into what they wanted."""

from collections.abc import Sequence
from typing import Protocol

from copydesk.simulate.tasks.base import Document, Task


class User(Protocol):
    """q(y'|x, y) of the paper."""

    @property
    def name(self) -> str:
        """The name they have in every round."""
        ...

    def edit(
        self, task: Task, documents: Sequence[Document], responses: Sequence[str], seeds: Sequence[Sequence[int]]
    ) -> list[str]:
        """The text made of each response; one that is good as it is comes back unchanged.

        `luck[i]` seeds what is random about the i-th edit. Its last number is the round's, from 1.
        """
        ...
