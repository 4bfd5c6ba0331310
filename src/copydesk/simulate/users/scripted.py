"""Scripted users: they edit a response towards their taste, nearly always (strong) or by small steps (weak).

Also the interface of every simulated user, a user who changes halfway, and the people of different tastes who share a
log.
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
    """A user with a taste for each kind of document and a strength `p`, the chance that an error is fixed.

    What is to the user's taste already is kept, and a response wholly to taste is accepted unchanged. Every other style
    attribute is changed: with probability `p` to the taste, else to some other value (one of two values is then kept).
    Each wrong, missing, misplaced or garbled piece is fixed with probability `p`. So a strong and a weak user rewrite
    about as much, but the weak one's text is still far from what either of them wants.

    `taste_offset` is for users with another taste: their taste for one kind of document is that of the task's default
    users for the kind `taste_offset` places further on.
    """

    name: str
    p: float
    taste_offset: int = 0

    def edit(
        self, task: Task, documents: Sequence[Document], responses: Sequence[str], seeds: Sequence[Sequence[int]]
    ) -> list[str]:
        """The user's edits of responses; `seeds[i]` seeds the i-th.

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
        """The style this user wants for a kind of document, in every round t."""
        kinds = list(task.tastes)
        return task.tastes[kinds[(kinds.index(kind) + self.taste_offset) % len(kinds)]]

    def edit_response(self, task: ScriptedTask, document: Document, response: str, rng: np.random.Generator) -> str:
        """The user's edit of a response; `rng` decides which errors are fixed, the same ones for any text."""
        kind = task.kind_by_name[document.kind]
        draft = parse_response(kind, response)
        edited = self._edit_outline(task, kind, draft, document, rng)
        return response if edited == draft else render_response(kind, edited)

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
        # numbers): one draw for each style attribute and part, in a fixed order.
        chances = {one.name: rng.random(2) for one in task.attributes}
        fixes = {part.name: rng.random() < self.p for part in kind.parts}
        tidies, clears = rng.random(2) < self.p

        style = {
            one.name: self._edit_attribute(draft.style[one.name], taste[one.name], one.values, chances[one.name])
            for one in task.attributes
        }
        order = [item for item in draft.order if self._is_kept(kind, item, style, bool(clears))]
        canonical = [part.name for part in kind.parts]
        if tidies:
            order = _sort_parts(order, canonical)
        for part in kind.parts:
            if part.name in order or not part.applies_to(style):
                continue
            # A part that was rightly absent before comes with its style; one that should have been there was missing.
            was_missing = bool(part.slots) and part.body and _was_expected(part.name, draft, style)
            if fixes[part.name] or not was_missing:
                _insert_part(order, part.name, canonical)
        facts = {}
        for name in (item for item in order if isinstance(item, str)):
            for slot in kind.part_by_name[name].slots:
                known = draft.facts.get(slot)
                facts[slot] = document.facts[slot] if known is None or fixes[name] else known
        return ResponseOutline(style, facts, tuple(order))

    def _edit_attribute(self, now: str | None, taste: str, values: Sequence[str], chances: np.ndarray) -> str:
        if now == taste or chances[0] < self.p:
            return taste
        others = [value for value in values if value not in (taste, now)]
        if not others:
            return now if now is not None else taste
        return others[int(chances[1] * len(others))]

    def _is_kept(self, kind: DocumentKind, item: str | Noise, style: Mapping[str, str], clears: bool) -> bool:
        return not clears if isinstance(item, Noise) else kind.part_by_name[item].applies_to(style)


def _was_expected(name: str, draft: ResponseOutline, style: Mapping[str, str]) -> bool:
    """A fact's part is missing unless the length the writer chose left it out."""
    return name != "detail" or draft.style.get("length") == style.get("length")


def _sort_parts(order: Sequence[str | Noise], canonical: Sequence[str]) -> list[str | Noise]:
    """The parts sorted; noise keeps its place among them."""
    parts = iter(sorted((item for item in order if isinstance(item, str)), key=canonical.index))
    return [next(parts) if isinstance(item, str) else item for item in order]


def _insert_part(order: list[str | Noise], name: str, canonical: Sequence[str]) -> None:
    later = set(canonical[canonical.index(name) + 1 :])
    at = next((i for i, item in enumerate(order) if item in later), len(order))
    order.insert(at, name)


class User(Protocol):
    """The interface of a simulated user: q(y'|x, y) of the paper."""

    @property
    def name(self) -> str:
        """The name of the user in every round."""
        ...

    def edit(
        self, task: Task, documents: Sequence[Document], responses: Sequence[str], seeds: Sequence[Sequence[int]]
    ) -> list[str]:
        """The edit of each response; one that needs no edit is returned unchanged.

        `seeds[i]` seeds the i-th edit; its last number is that of the round, from 1.
        """
        ...


@dataclass(frozen=True)
class ChangingUser:
    """A user who is `first` in rounds 1 to `change_round`, and `then` afterwards."""

    name: str
    first: User
    then: User
    change_round: int

    def edit(
        self, task: Task, documents: Sequence[Document], responses: Sequence[str], seeds: Sequence[Sequence[int]]
    ) -> list[str]:
        """The edits of the user of each round."""
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
        """The style wanted in round t; `None` if the user is not a script."""
        user = self.first if t <= self.change_round else self.then
        return user.target_style(task, kind, t) if isinstance(user, ScriptedUser) else None


# Half share a taste and the others have one each, so that there is a common and a personal part; and in either half
# one person gave many edits, one some and one few, so that taste and number of edits are not confounded. Of 300 edits
# they gave 100, 38 and 12: on either side of the 50 from which a strong user's edits suffice (docs/results.md).
_USER_SHARES = (("ann", 0, 8), ("ben", 0, 3), ("cleo", 0, 1), ("dan", 1, 8), ("eve", 2, 3), ("finn", 3, 1))
"""Name, taste offset (see `ScriptedUser`) and share of the edits."""

MIN_PERSONAL_EDITS = sum(share for *_, share in _USER_SHARES)
"""The least number of edits with which everybody has given one."""


@dataclass(frozen=True)
class PersonalUser:
    """A user and the number of their edits in the log."""

    user: ScriptedUser
    edits: int

    @property
    def name(self) -> str:
        """The user's name."""
        return self.user.name

    def to_json(self) -> dict[str, Any]:
        """The person as results.json keeps it, under the name."""
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
