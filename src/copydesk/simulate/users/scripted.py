"""Scripted users: they edit a response towards every preference (strong) or towards a few of them (weak).

Also the interface of every simulated user, a user who changes halfway, and the people of different tastes who share a
log.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import Any, Protocol

import numpy as np

from copydesk.errors import InputError
from copydesk.simulate.tasks.base import Document, Task
from copydesk.simulate.tasks.grammar import DocumentKind, Noise, ResponseOutline, parse_response, render_response
from copydesk.simulate.tasks.scripted import ScriptedTask, Style
from copydesk.simulate.users.attention import Attention


@dataclass(frozen=True)
class ScriptedUser:
    """A user with a taste, one preference for each style attribute, which depends on the document.

    A response wholly to taste is accepted unchanged. In every other one, the preferences of `attention` are attended
    to; what the others are about stays exactly as it is, whether it is to taste or not. Wrong, missing, misplaced and
    garbled pieces are fixed whatever is attended to.

    Attributes:
        name: the name in every round.
        p: the probability that something attended to is fixed. With 1 the user never errs. Below, a style attribute
            that is not to taste is changed to some other value (one of two values is kept), and a wrong piece is kept.
        taste_offset: for users with another taste: theirs for one kind of document is that of the usual users for the
            kind `taste_offset` places further on.
        attention: the preferences attended to in an interaction.
        facets: whether taste depends on a detail of the document too (`ScriptedTask.get_taste`).
        tolerance: how many preferences a response may miss, with nothing else wrong, and be accepted.
        own_words: whether the user's own text is worded otherwise than the task's (`ScriptedTask.paraphrases`).
    """

    name: str
    p: float = 1.0
    taste_offset: int = 0
    attention: Attention = field(default_factory=Attention)
    facets: bool = True
    tolerance: int = 0
    own_words: bool = False

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

    def target_style(self, task: ScriptedTask, document: Document, t: int) -> Style:
        """The style this user wants of a document, in every round t."""
        return task.get_taste(document, offset=self.taste_offset, facets=self.facets)

    def edit_response(self, task: ScriptedTask, document: Document, response: str, rng: np.random.Generator) -> str:
        """The user's edit of a response; `rng` decides what is attended to and fixed, the same for any text."""
        kind = task.kind_by_name[document.kind]
        draft = parse_response(kind, response)
        taste = self.target_style(task, document, 0)
        # Every number is drawn whether it is needed or not, so that two responses meet the same user (common random
        # numbers): one draw for each style attribute and part, in a fixed order.
        chances = {one.name: rng.random(2) for one in task.attributes}
        fixes = {part.name: rng.random() < self.p for part in kind.parts}
        sorts, clears = (bool(one) for one in rng.random(2) < self.p)
        attended = self.attention.sample(rng, len(task.attributes))

        style: dict[str, str | None] = {}
        for number, one in enumerate(task.attributes):
            now = draft.style[one.name]
            style[one.name] = (
                self._edit_attribute(now, taste[one.name], one.values, chances[one.name]) if number in attended else now
            )
        edited = _edit_outline(kind, draft, style, taste, document, fixes, sorts=sorts, clears=clears)
        if edited == draft or self._tolerates(kind, draft, taste, document):
            return response
        return render_response(kind, edited, self._choose_words(task, kind, draft, edited))

    def _edit_attribute(self, now: str | None, taste: str, values: Sequence[str], chances: np.ndarray) -> str:
        if now == taste or chances[0] < self.p:
            return taste
        others = [value for value in values if value not in (taste, now)]
        if not others:
            return now if now is not None else taste
        return others[int(chances[1] * len(others))]

    def _tolerates(self, kind: DocumentKind, draft: ResponseOutline, taste: Style, document: Document) -> bool:
        missed = sum(draft.style[name] != value for name, value in taste.items())
        if not 0 < missed <= self.tolerance:
            return False
        fixes = dict.fromkeys(kind.part_by_name, True)
        return _edit_outline(kind, draft, draft.style, taste, document, fixes, sorts=True, clears=True) == draft

    def _choose_words(
        self, task: ScriptedTask, kind: DocumentKind, draft: ResponseOutline, edited: ResponseOutline
    ) -> Mapping[str, str]:
        """The templates of the parts that this user wrote, by part name, where they are not the task's."""
        if not self.own_words:
            return {}
        kept = {name for name, (value, _) in draft.written.items() if edited.written.get(name, ("",))[0] == value}
        return {name: task.paraphrase(kind, name, edited.written[name][0]) for name in edited.parts if name not in kept}


def _edit_outline(
    kind: DocumentKind,
    draft: ResponseOutline,
    style: Mapping[str, str | None],
    taste: Style,
    document: Document,
    fixes: Mapping[str, bool],
    *,
    sorts: bool,
    clears: bool,
) -> ResponseOutline:
    """A draft in another style with its errors fixed; `None` in `style` keeps the values that a mixed draft has."""
    order = [item for item in draft.order if _is_kept(kind, item, style, clears=clears)]
    canonical = [part.name for part in kind.parts]
    if sorts:
        order = _sort_parts(order, canonical)
    # A part that a mixed draft lacks is written like the first one that is there.
    complete = {name: value or _find_first_value(kind, draft, name) or taste[name] for name, value in style.items()}
    for part in kind.parts:
        if part.name in order or not part.applies_to(complete) or (style[part.attribute] is None and not part.slots):
            continue
        # A part that was rightly absent before comes with its style; one that should have been there was missing.
        was_missing = bool(part.slots) and part.body and _was_expected(part.name, draft, style)
        if fixes[part.name] or not was_missing:
            _insert_part(order, part.name, canonical)
    facts, written = {}, {}
    for part in (kind.part_by_name[item] for item in order if isinstance(item, str)):
        before = draft.written.get(part.name, (complete[part.attribute], complete["layout"]))
        layout = (style["layout"] or before[1]) if part.body else ""
        written[part.name] = (style[part.attribute] or before[0], layout)
        for slot in part.slots:
            known = draft.facts.get(slot)
            facts[slot] = document.facts[slot] if known is None or fixes[part.name] else known
    return ResponseOutline(style, facts, tuple(order), written)


def _find_first_value(kind: DocumentKind, draft: ResponseOutline, attribute: str) -> str | None:
    """The value of a style attribute in the first part that shows it."""
    if attribute == "layout":
        return next((layout for _, layout in draft.written.values() if layout), None)
    parts = (name for name in draft.written if kind.part_by_name[name].attribute == attribute)
    return next((draft.written[name][0] for name in parts), None)


def _is_kept(kind: DocumentKind, item: str | Noise, style: Mapping[str, str | None], *, clears: bool) -> bool:
    if isinstance(item, Noise):
        return not clears
    part = kind.part_by_name[item]
    return style[part.attribute] is None or part.applies_to(style)


def _was_expected(name: str, draft: ResponseOutline, style: Mapping[str, str | None]) -> bool:
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

    def target_style(self, task: ScriptedTask, document: Document, t: int) -> Style | None:
        """The style wanted in round t; `None` if the user is not a script."""
        user = self.first if t <= self.change_round else self.then
        return user.target_style(task, document, t) if isinstance(user, ScriptedUser) else None


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
