"""Prompts with guidance from a person's edits, and questions about the edits; independent of the task."""

import re
from collections.abc import Sequence
from itertools import takewhile

from copydesk.data.record import Context, EditRecord, Message

MAX_DESCRIPTION_CHARACTERS = 240
"""The longest description of a taste: a phrase."""


def flatten_context(context: Context) -> str:
    """A context as text: of a chat, the contents of its messages."""
    return context if isinstance(context, str) else "\n\n".join(message.content for message in context)


def add_guidance(context: Context, guidance: str) -> Context:
    """The context with guidance before it; in a chat, before the last user message.

    In a chat without user messages the guidance becomes one. Empty guidance leaves a context unchanged.
    """
    if not guidance:
        return context
    if isinstance(context, str):
        return f"{guidance}\n\n{context}"
    messages = list(context)
    for place in reversed(range(len(messages))):
        if messages[place].role == "user":
            content = f"{guidance}\n\n{messages[place].content}"
            messages[place] = messages[place].model_copy(update={"content": content})
            return messages
    return [*messages, Message(role="user", content=guidance)]


def render_taste_guidance(taste: str) -> str:
    """Guidance from a description of the taste; empty if the description is."""
    if not taste:
        return ""
    return (
        f"The reader of your answer wants texts in this style: {taste}\n"
        "Answer the request below in that style, so that nothing is left to change."
    )


def render_examples_guidance(examples: Sequence[EditRecord]) -> str:
    """Guidance from past edits; the first of them, the most similar, comes last, next to the request."""
    if not examples:
        return ""
    return (
        "These are earlier drafts and what their reader made of them.\n\n"
        + "\n\n".join(_render_example(record) for record in reversed(examples))
        + "\n\nLearn from them how this reader wants a text to be. Answer the request below so that nothing is left to "
        "change."
    )


def _render_example(record: EditRecord) -> str:
    if record.accepted:
        return f"Draft, left as it was:\n{record.response}"
    return f"Draft:\n{record.response}\nChanged to:\n{record.edit}"


def render_inference_prompt(response: str, edit: str | None = None) -> str:
    """The prompt that asks for the taste behind one edit, or behind accepting a response."""
    if edit is None:
        seen = f"Somebody was given this text and left it as it was:\n{response}\n\nWhat does it tell"
    else:
        seen = (
            f"Somebody was given this text:\n{response}\n\nand changed it to this:\n{edit}\n\nWhat do the changes tell"
        )
    return (
        f"{seen} about how this person likes texts to be written and laid out? Name only what would hold for their "
        "other texts too, in one short phrase and nothing else."
    )


def render_merge_prompt(descriptions: Sequence[str]) -> str:
    """The prompt that merges several descriptions into the one that most of them agree on."""
    listed = "\n".join(f"- {description}" for description in descriptions)
    return (
        f"These notes were taken on how one person likes texts to be written:\n{listed}\n\n"
        "Sum up what most of them agree on, in one short phrase and nothing else."
    )


_POLITE_OPENING = re.compile(r"\A(?:sure|certainly|of course|okay|ok)\b\W*", re.IGNORECASE)
_LABEL = re.compile(
    r"\A(?:(?:here(?:'s|’s| is| are)|based on)\b[^:]{0,120}"
    r"|(?:this|the) (?:person|reader|user)(?: \w+)?"
    r"|(?:in )?(?:one |a )?short phrase|summary|answer|description"
    r"|(?:general |overall |preferred |writing )*(?:style|taste|preference)s?\b[^:]{0,30})\W*:",
    re.IGNORECASE,
)
_BULLET = re.compile(r"\A\s*(?:[-*•–]|\d+[.)])\s+")
_EMPTY_DESCRIPTIONS = {"none", "n/a", "nothing", "unknown", "no preference", "no preferences"}


def clean_description(written: str) -> str:
    """Extract a description from a writer's answer: a phrase without preamble, bullets, quotes or a full stop.

    It is the first line, or the points of the list that the answer begins with, cut at a word to
    `MAX_DESCRIPTION_CHARACTERS` characters. Empty if the answer says that there is no preference.
    """
    lines = [(_BULLET.match(line) is not None, _extract_phrase(line)) for line in written.splitlines()]
    lines = [(listed, phrase) for listed, phrase in lines if phrase]
    points = [phrase for _, phrase in takewhile(lambda line: line[0], lines)]
    phrase = ", ".join(points or [phrase for _, phrase in lines[:1]])
    if len(phrase) > MAX_DESCRIPTION_CHARACTERS:
        phrase = phrase[: MAX_DESCRIPTION_CHARACTERS + 1].rpartition(" ")[0] or phrase[:MAX_DESCRIPTION_CHARACTERS]
        phrase = phrase.rstrip(" ,;:")
    return "" if phrase.lower() in _EMPTY_DESCRIPTIONS else phrase


def _extract_phrase(line: str) -> str:
    return _strip_punctuation(
        _LABEL.sub("", _POLITE_OPENING.sub("", _strip_punctuation(_BULLET.sub("", line, count=1))))
    )


def _strip_punctuation(line: str) -> str:
    return line.strip(" \t\"'“”‘’«»`*_.")
