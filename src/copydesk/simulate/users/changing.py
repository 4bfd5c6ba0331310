"""A user who changes: somebody else's wishes from some round on."""

from collections.abc import Sequence
from dataclasses import dataclass

from copydesk.simulate.tasks.base import Document, Task
from copydesk.simulate.tasks.manners import Style
from copydesk.simulate.tasks.scripted import ScriptedTask
from copydesk.simulate.users.scripted import ScriptedUser
from copydesk.simulate.users.user import User


@dataclass(frozen=True)
class ChangingUser:
    """Is `first` in rounds 1 to `change_round`, and `then` ever after."""

    name: str
    first: User
    then: User
    change_round: int

    def edit(
        self, task: Task, documents: Sequence[Document], responses: Sequence[str], seeds: Sequence[Sequence[int]]
    ) -> list[str]:
        """The edits of whoever it is in each round."""
        rounds = list(zip(documents, responses, seeds, strict=True))
        edits: list[str] = []
        for user, own in (
            (self.first, [one for one in rounds if one[2][-1] <= self.change_round]),
            (self.then, [one for one in rounds if one[2][-1] > self.change_round]),
        ):
            edits += user.edit(task, *([one[part] for one in own] for part in range(3)))  # type: ignore[arg-type]
        # Rounds are played in their order, so those before the change come first.
        return edits

    def target_style(self, task: ScriptedTask, kind: str, t: int) -> Style | None:
        """The manners wanted in round t; `None` where nobody knows them."""
        who = self.first if t <= self.change_round else self.then
        return who.target_style(task, kind, t) if isinstance(who, ScriptedUser) else None
