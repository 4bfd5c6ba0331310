"""Scripted users: they mend a response towards their taste, surely (strong) or by small steps (weak).

A user who changes: somebody else's wishes from some round on.

What every simulated user is: somebody who turns responses into what they wanted.

Who writes a log together: people of different tastes, some of whom edit much and some little.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any, Protocol

import numpy as np

from copydesk.errors import InputError
from copydesk.simulate.tasks.base import Document, Task
from copydesk.simulate.tasks.grammar import DocumentKind, Noise, ResponseOutline, parse_response, render_response
from copydesk.simulate.tasks.scripted import ScriptedTask, Style


@dataclass(frozen=True)
class ScriptedUser:
    """A user with a taste for each kind of document and a strength `p`, the chance that a fault is mended.

    What is to the user's taste already is left alone, and a response wholly to taste is accepted unchanged. Each
    manner that is not is changed: with probability `p` to the taste, else to some other manner (a manner of two values
    then stays). Each wrong, missing, misplaced or garbled piece is mended with probability `p`. So a strong and a weak
    user rewrite about as much, but the weak one's text is still far from what either of them wants.

    `taste_offset` is for users with another taste: what they want of one kind of document is what the task's usual
    users want of the kind that stands `taste_offset` places further on.
    """

    name: str
    p: float
    taste_offset: int = 0

    def edit(
        self, task: Task, documents: Sequence[Document], responses: Sequence[str], seeds: Sequence[Sequence[int]]
    ) -> list[str]:
        """The texts this user makes of responses; `luck[i]` seeds the i-th.

        Raises:
            InputError: the task has no grammar to read responses with.
        """
        if not isinstance(task, ScriptedTask):
            raise InputError(
                f"--task {task.name}: the user {self.name!r} is a script and reads synthetic documents only; give an "
                f"LLM as this user, such as --user {self.name}=MODEL@URL"
            )
        return [
            self.edit_response(task, document, response, np.random.default_rng(list(seed)))
            for document, response, seed in zip(documents, responses, seeds, strict=True)
        ]

    def target_style(self, task: ScriptedTask, kind: str, t: int) -> Style:
        """The manners this user wants of a kind of document, in every round t."""
        kinds = list(task.tastes)
        return task.tastes[kinds[(kinds.index(kind) + self.taste_offset) % len(kinds)]]

    def edit_response(self, task: ScriptedTask, document: Document, response: str, rng: np.random.Generator) -> str:
        """The text this user makes of a response; `rng` decides which faults are mended, the same ones for any text."""
        kind = task.kind_by_name[document.kind]
        draft = parse_response(kind, response)
        mended = self._edit_outline(task, kind, draft, document, rng)
        return response if mended == draft else render_response(kind, mended)

    def _edit_outline(
        self,
        task: ScriptedTask,
        kind: DocumentKind,
        draft: ResponseOutline,
        document: Document,
        rng: np.random.Generator,
    ) -> ResponseOutline:
        taste = self.target_style(task, kind.name, 0)
        # Every chance is drawn whether it is needed or not, so that two responses meet the same user (common random
        # numbers): one draw for each manner and part, in a fixed order.
        luck = {manner.name: rng.random(2) for manner in task.attributes}
        mends = {part.name: rng.random() < self.p for part in kind.parts}
        tidies, clears = rng.random(2) < self.p

        manners = {
            manner.name: self._edit_attribute(
                draft.style[manner.name], taste[manner.name], manner.values, luck[manner.name]
            )
            for manner in task.attributes
        }
        order = [item for item in draft.order if self._is_kept(kind, item, manners, bool(clears))]
        canonical = [part.name for part in kind.parts]
        if tidies:
            order = _sort_parts(order, canonical)
        for part in kind.parts:
            if part.name in order or not part.applies_to(manners):
                continue
            # A part that was rightly absent before comes with its manner; one that should have been there was missing.
            was_missing = bool(part.slots) and part.body and _was_expected(part.name, draft, manners)
            if mends[part.name] or not was_missing:
                _insert_part(order, part.name, canonical)
        facts = {}
        for name in (item for item in order if isinstance(item, str)):
            for slot in kind.part_by_name[name].slots:
                known = draft.facts.get(slot)
                facts[slot] = document.facts[slot] if known is None or mends[name] else known
        return ResponseOutline(manners, facts, tuple(order))

    def _edit_attribute(self, now: str | None, taste: str, values: Sequence[str], luck: np.ndarray) -> str:
        if now == taste or luck[0] < self.p:
            return taste
        others = [value for value in values if value not in (taste, now)]
        if not others:
            return now if now is not None else taste
        return others[int(luck[1] * len(others))]

    def _is_kept(self, kind: DocumentKind, item: str | Noise, manners: Mapping[str, str], clears: bool) -> bool:
        return not clears if isinstance(item, Noise) else kind.part_by_name[item].applies_to(manners)


def _was_expected(name: str, draft: ResponseOutline, manners: Mapping[str, str]) -> bool:
    """A fact's part is missing unless the length the writer chose left it out."""
    return name != "detail" or draft.style.get("length") == manners.get("length")


def _sort_parts(order: Sequence[str | Noise], canonical: Sequence[str]) -> list[str | Noise]:
    """The parts sorted; noise keeps its place among them."""
    parts = iter(sorted((item for item in order if isinstance(item, str)), key=canonical.index))
    return [next(parts) if isinstance(item, str) else item for item in order]


def _insert_part(order: list[str | Noise], name: str, canonical: Sequence[str]) -> None:
    later = set(canonical[canonical.index(name) + 1 :])
    at = next((i for i, item in enumerate(order) if item in later), len(order))
    order.insert(at, name)


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


# Half are of one mind and the others each of their own, so that what all have in common and what one wants for oneself
# are both there; and in either half one gave much, one some and one little, so that the two do not go together. Of 300
# edits they are 100, 38 and 12: on either side of the 50 from which a strong user's edits suffice (docs/results.md).
_USER_SHARES = (("ann", 0, 8), ("ben", 0, 3), ("cleo", 0, 1), ("dan", 1, 8), ("eve", 2, 3), ("finn", 3, 1))
"""Name, turn (see `ScriptedUser`) and share of the edits."""

MIN_PERSONAL_EDITS = sum(share for *_, share in _USER_SHARES)
"""The edits it takes until everybody has given one."""


@dataclass(frozen=True)
class PersonalUser:
    """A user, and how many of the log's edits are theirs."""

    user: ScriptedUser
    edits: int

    @property
    def name(self) -> str:
        """The user's name."""
        return self.user.name

    def to_json(self) -> dict[str, Any]:
        """What results.json keeps of the person, by the name."""
        return {"p": self.user.p, "turn": self.user.taste_offset, "edits": self.edits}


def make_personal_users(like: ScriptedUser, edits: int) -> list[PersonalUser]:
    """Six people as strong as `like`, whose edits, at least `MIN_PERSONAL_EDITS`, are `edits` together.

    Three want what `like` wants, and the others three different things.
    """
    ends = accumulate((share for *_, share in _USER_SHARES), initial=0)
    counts = [
        round(edits * end / MIN_PERSONAL_EDITS) - round(edits * start / MIN_PERSONAL_EDITS)
        for start, end in pairwise(ends)
    ]
    return [
        PersonalUser(replace(like, name=name, taste_offset=like.taste_offset + turn), count)
        for (name, turn, _), count in zip(_USER_SHARES, counts, strict=True)
    ]
