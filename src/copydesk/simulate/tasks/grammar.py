"""A small grammar: facts and a style become text, and text becomes facts and a style again.

A kind of document says which parts its responses are made of. `render_response` writes a `ResponseOutline` as text;
`parse_response` reads any text, also one a model got wrong, as a `ResponseOutline`: what matches no part is kept as
noise, a fact that is not stated is missing, and an attribute with several values in one text is `None`. Rendering an
outline that `parse_response` can return and parsing it again gives the same outline.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

SLOT_PATTERN = re.compile(r"\{(\w+)\}")
NOISE_END_PATTERN = re.compile(r"(?<=[.!?])\s|\n")


@dataclass(frozen=True)
class ResponsePart:
    """A piece of a response: one sentence or line, in the variant that one style attribute chooses.

    A value without a template leaves the part out. `body` parts are laid out as the attribute `layout` says.
    `conditions` names further attributes, and the values under which the part is included.
    """

    name: str
    attribute: str
    variants: Mapping[str, str]
    body: bool = False
    question: str = ""
    conditions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def applies_to(self, style: Mapping[str, str | None]) -> bool:
        """Whether a response in this style has this part."""
        return style[self.attribute] in self.variants and all(
            style[m] in values for m, values in self.conditions.items()
        )

    @cached_property
    def slots(self) -> tuple[str, ...]:
        """The facts this part states."""
        return tuple(dict.fromkeys(SLOT_PATTERN.findall(" ".join(self.variants.values()))))


class PartPattern(NamedTuple):
    """How a part looks in text, in the variant of one value and in one layout."""

    expression: re.Pattern[str]
    part: ResponsePart
    value: str
    layout: str


@dataclass(frozen=True)
class Noise:
    """A stretch of text that is no part of the grammar: repeated, garbled or out of place."""

    text: str


@dataclass(frozen=True)
class ResponseOutline:
    """A response as its reader sees it.

    `style` holds None where the text disagrees with itself or does not show. `facts` holds what the text states,
    right or wrong. `order` is the sequence of parts as written, with the noise between them. `written` has the value
    and the layout of each part (no layout outside the body); it adds to `style` only where that holds None.
    """

    style: Mapping[str, str | None]
    facts: Mapping[str, str]
    order: tuple[str | Noise, ...]
    written: Mapping[str, tuple[str, str]] = field(default_factory=dict, compare=False)

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts that are there."""
        return tuple(item for item in self.order if isinstance(item, str))

    @property
    def noise(self) -> tuple[Noise, ...]:
        """The stretches of text that are no part."""
        return tuple(item for item in self.order if isinstance(item, Noise))


LAYOUT_PREFIXES: Mapping[str, str] = {"prose": "", "bullets": r"- ", "numbered": r"\d+\. ", "questions": ""}
"""The layouts and the expression of each one's prefix; `questions` puts the part's own question there."""


@dataclass(frozen=True)
class DocumentKind:
    """A kind of document: its facts (slots), its wording (lines) and the parts of a response.

    `lines` are groups of alternative wordings of one line of the context; `opening_lines` of them stay in place at the
    start and the others come in any order. Parts are in canonical order; `fact_parts` are those a response must have.
    """

    name: str
    slots: Mapping[str, Sequence[str]]
    lines: Sequence[Sequence[str]]
    parts: Sequence[ResponsePart]
    layouts: Sequence[str]
    opening_lines: int = 0

    @cached_property
    def part_by_name(self) -> Mapping[str, ResponsePart]:
        """The parts by name."""
        return {part.name: part for part in self.parts}

    @cached_property
    def fact_parts(self) -> tuple[ResponsePart, ...]:
        """The parts that state the document's facts: body parts with slots."""
        return tuple(part for part in self.parts if part.body and part.slots)

    @cached_property
    def patterns(self) -> tuple[PartPattern, ...]:
        """One pattern for everything a response can be made of."""
        found = []
        for part in self.parts:
            for value, template in part.variants.items():
                body = SLOT_PATTERN.sub(
                    r"(?P<\1>[^\\s.,:;!?]+)", re.escape(template).replace(r"\{", "{").replace(r"\}", "}")
                )
                for layout in self.layouts if part.body else [""]:
                    prefix = (
                        re.escape(part.question + " ") if layout == "questions" else LAYOUT_PREFIXES.get(layout, "")
                    )
                    found.append(PartPattern(re.compile(prefix + body + r"(?!\w)"), part, value, layout))
        return tuple(found)


def _find_sentence_end(text: str, at: int) -> int:
    end = NOISE_END_PATTERN.search(text, at + 1)
    return end.start() if end else len(text)


def _single_value(values: Sequence[str]) -> str | None:
    return values[0] if len(set(values)) == 1 else None


def parse_response(kind: DocumentKind, text: str) -> ResponseOutline:
    """Read any text as a response to a document of this kind. Linear in the text; never fails."""
    order: list[str | Noise] = []
    facts: dict[str, str] = {}
    written: dict[str, tuple[str, str]] = {}
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        found = [(m, p) for p in kind.patterns if (m := p.expression.match(text, at))]
        match, pattern = max(found, key=lambda pair: pair[0].end(), default=(None, None))
        if match is None or pattern is None or pattern.part.name in order:
            end = match.end() if match else _find_sentence_end(text, at)
            order.append(Noise(text[at:end]))
            at = end
            continue
        part = pattern.part
        order.append(part.name)
        facts.update(match.groupdict())
        written[part.name] = (pattern.value, pattern.layout)
        at = match.end()
    return ResponseOutline(_infer_style(kind, written), facts, tuple(order), written)


def _infer_style(kind: DocumentKind, written: Mapping[str, tuple[str, str]]) -> dict[str, str | None]:
    seen: dict[str, list[str]] = {}
    for name, (value, layout) in written.items():
        seen.setdefault(kind.part_by_name[name].attribute, []).append(value)
        if kind.part_by_name[name].body:
            seen.setdefault("layout", []).append(layout)
    manners: dict[str, str | None] = {}
    for part in kind.parts:
        if part.attribute == "length":
            manners["length"] = "long" if part.name in written else "medium" if "detail" in written else "short"
        elif part.body:
            manners[part.attribute] = _single_value(seen.get(part.attribute, []) or ["", "unseen"])
        else:
            manners[part.attribute] = _single_value(seen.get(part.attribute, ["none"]))
    manners["layout"] = _single_value(seen.get("layout", []) or ["", "unseen"])
    return manners


def compose_outline(kind: DocumentKind, style: Mapping[str, str], facts: Mapping[str, str]) -> ResponseOutline:
    """The draft in this style that states every fact correctly, in canonical order and without noise."""
    parts = [part for part in kind.parts if part.applies_to(style)]
    stated = {slot: facts[slot] for part in parts for slot in part.slots}
    written = {part.name: (style[part.attribute], style["layout"] if part.body else "") for part in parts}
    return ResponseOutline(dict(style), stated, tuple(part.name for part in parts), written)


def render_response(kind: DocumentKind, draft: ResponseOutline, templates: Mapping[str, str] | None = None) -> str:
    """Write an outline as text.

    Args:
        kind: of the document.
        draft: the outline. Where its style has no value, each part needs its own in `written`.
        templates: the wording of some parts, by part name, where it is not that of the grammar.
    """
    text, body_before, number = "", False, 0
    layout = draft.style["layout"]
    for item in draft.order:
        if isinstance(item, Noise):
            piece, body = item.text, True
        else:
            part = kind.part_by_name[item]
            value, layout = draft.written.get(item, ("", ""))
            value, layout = draft.style[part.attribute] or value, draft.style["layout"] or layout
            template = (templates or {}).get(item) or part.variants[value]
            piece = SLOT_PATTERN.sub(lambda m: draft.facts[m[1]], template)
            body = part.body
            if body:
                number += 1
                prefix = {"bullets": "- ", "numbered": f"{number}. ", "questions": f"{part.question} "}
                piece = prefix.get(str(layout), "") + piece
        between = "\n\n" if not (body and body_before) else " " if layout == "prose" else "\n"
        text = text + between + piece if text else piece
        body_before = body
    return text
