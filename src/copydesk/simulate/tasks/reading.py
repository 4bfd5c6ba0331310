"""What there is to say of a response to a scripted task beside its cost."""

from collections.abc import Mapping
from dataclasses import dataclass

from copydesk.simulate.tasks.base import Document
from copydesk.simulate.tasks.grammar import compose_outline, parse_response
from copydesk.simulate.tasks.manners import Style
from copydesk.simulate.tasks.scripted import ScriptedTask


def ideal_response(task: ScriptedTask, document: Document, taste: Style | None = None) -> str:
    """The response wholly to a taste, every fact right; the taste is the task's own unless another is given."""
    return task.write_response(document, task.tastes[document.kind] if taste is None else taste)


@dataclass(frozen=True)
class ResponseScore:
    """What there is to say of a response beside its cost.

    malformed: some of it is no part of the grammar, out of order, or a fact is missing. facts: the share of the facts
    it should state that it states rightly. to_taste: it is wholly to the user's taste.
    """

    malformed: bool
    facts: float
    to_taste: bool
    correct_slots: Mapping[str, bool]


def score_response(task: ScriptedTask, document: Document, response: str, taste: Style | None = None) -> ResponseScore:
    """Judge a response by the document and a taste, as `ideal` takes it; `right` tells slot by slot."""
    kind = task.kind_by_name[document.kind]
    draft = parse_response(kind, response)
    missing = [part.name for part in kind.fact_parts if part.name not in draft.order and part.name != "detail"]
    states = [slot for part in kind.parts if part.name in draft.order or part.name in missing for slot in part.slots]
    right = {slot: draft.facts.get(slot) == document.facts[slot] for slot in states}
    malformed = bool(draft.noise or missing) or list(draft.parts) != [
        part.name for part in kind.parts if part.name in draft.order
    ]
    return ResponseScore(
        malformed=malformed,
        facts=sum(right.values()) / len(right) if right else 0.0,
        to_taste=draft == compose_outline(kind, task.tastes[document.kind] if taste is None else taste, document.facts),
        correct_slots=right,
    )
