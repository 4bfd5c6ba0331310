"""Redaction: replaces personal data and keys by numbered placeholders that keep the edit recognizable."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from copydesk.data.record import EditRecord, Message
from copydesk.data.redact_kinds import REDACTION_KINDS, RedactionKind, RedactionSpan
from copydesk.errors import InputError

_PLACEHOLDER = re.compile(rf"\[({'|'.join(REDACTION_KINDS)})_([0-9]{{1,9}})\]")


class Redactor:
    """Replaces personal data and keys by numbered placeholders such as `[EMAIL_1]`.

    Within a row the same text gets the same placeholder, numbered in the order of first appearance, and two different
    texts never share one. So kept text stays kept, changed text stays changed, and `edit == response` holds after
    redaction exactly where it held before. A finding is replaced wherever it occurs in the row as a word of its own.
    Placeholders that are in a row already stay and their numbers are not reused, so redacting twice gives the same as
    redacting once.

    Args:
        region: the region of phone numbers without a country code, as ISO 3166-1 alpha-2; numbers that begin with `+`
            are found in any case.
        kinds: the kinds to replace.

    Raises:
        InputError: there is no such region or kind, or the libraries for redaction are not installed.
    """

    def __init__(self, region: str = "US", kinds: Collection[str] = REDACTION_KINDS) -> None:
        for kind in kinds:
            if kind not in REDACTION_KINDS:
                raise InputError(f"--redact {kind}: there is no such kind; give one of {', '.join(REDACTION_KINDS)}")
        try:
            from copydesk.data.redact_finders import KeyFinder, build_personal_data_finders
        except ImportError as exc:
            raise InputError(f"--redact needs {exc.name}; install it with: pip install 'copydesk[redact]'") from None
        finders = build_personal_data_finders(region)
        if "KEY" in kinds:
            finders["KEY"] = KeyFinder()
        self._finders = {kind: find for kind, find in finders.items() if kind in kinds}

    def redact_text(self, text: str) -> tuple[str, Counter[str]]:
        """Redact one text; returns it with the number of replacements by kind."""
        [redacted], counts = self._redact_texts([text])
        return redacted, counts

    def redact_record(self, record: EditRecord) -> tuple[EditRecord, Counter[str]]:
        """Redact a row; returns it with the number of replacements by kind.

        Redacted are the context (of messages, the content and all other keys), the response, the edit and the
        metadata; in objects the values, not the keys. `id`, `user` and `policy` are identifiers and stay: where users
        are named by their e-mail addresses, give them other ids first.
        """
        context = record.context
        turns = context if isinstance(context, str) else [[turn.content, turn.model_extra] for turn in context]
        before = list(_iter_strings([turns, record.response, record.edit, record.metadata]))
        after, counts = self._redact_texts(before)
        if not counts:
            return record, counts
        new = dict(zip(before, after, strict=True))
        changed = {
            "context": new[context]
            if isinstance(context, str)
            else tuple(_replace_in_message(turn, new) for turn in context),
            "response": new[record.response],
            "edit": None if record.edit is None else new[record.edit],
            "metadata": _replace_strings(record.metadata, new),
        }
        return record.model_copy(update=changed), counts

    def _redact_texts(self, texts: Sequence[str]) -> tuple[Sequence[str], Counter[str]]:
        """The texts of one row, redacted. The result for a text depends on the text and the row, not on its place."""
        counts: Counter[str] = Counter()
        found: dict[str, list[RedactionSpan]] = {}
        # Repeated until nothing is found: a finding may show only once its neighbour is replaced.
        while True:
            for text in texts:
                if text not in found:
                    found[text] = self._find_spans(text)
            secrets: dict[str, RedactionKind] = {}
            for text in texts:
                for kind, start, end in found[text]:
                    secrets.setdefault(text[start:end], kind)
            if not secrets:
                return texts, counts
            texts = _replace_secrets(texts, found, secrets, counts)

    def _find_spans(self, text: str) -> list[RedactionSpan]:
        return _drop_overlaps(
            text, [RedactionSpan(kind, *place) for kind, find in self._finders.items() for place in find(text)]
        )


def _replace_secrets(
    texts: Sequence[str],
    found: Mapping[str, list[RedactionSpan]],
    secrets: Mapping[str, RedactionKind],
    counts: Counter[str],
) -> list[str]:
    """Put placeholders where secrets were found or occur elsewhere; adds the replacements to `counts`."""
    last: Counter[str] = Counter()
    for text in texts:
        for placeholder in _PLACEHOLDER.finditer(text):
            last[placeholder[1]] = max(last[placeholder[1]], int(placeholder[2]))
    names: dict[str, str] = {}
    replaced = []
    for text in texts:
        parts, done = [], 0
        for _, start, end in _drop_overlaps(text, [*found[text], *_iter_occurrences(secrets, text)]):
            secret = text[start:end]
            kind = secrets[secret]
            if secret not in names:
                last[kind] += 1
                names[secret] = f"[{kind}_{last[kind]}]"
            parts += [text[done:start], names[secret]]
            done = end
            counts[kind] += 1
        replaced.append("".join([*parts, text[done:]]))
    return replaced


def _iter_occurrences(secrets: Mapping[str, RedactionKind], text: str) -> Iterator[RedactionSpan]:
    """The occurrences of secrets in a text that are not within a longer word or number."""
    for secret, kind in secrets.items():
        start = text.find(secret)
        while start >= 0:
            end = start + len(secret)
            if not (_is_within_word(text[start - 1 : start + 1]) or _is_within_word(text[end - 1 : end + 1])):
                yield RedactionSpan(kind, start, end)
            start = text.find(secret, start + 1)


def _is_within_word(pair: str) -> bool:
    """Whether two characters belong to one word; ASCII only, as some scripts put nothing between words."""
    return len(pair) == 2 and pair.isascii() and pair.isalnum()


def _drop_overlaps(text: str, spans: Iterable[RedactionSpan]) -> list[RedactionSpan]:
    """Spans that overlap neither each other nor a placeholder, in the order of the text."""
    spans = sorted(set(spans), key=lambda span: (REDACTION_KINDS.index(span.kind), span.start, -span.end))
    if not spans:
        return []
    taken = bytearray(len(text))
    for placeholder in _PLACEHOLDER.finditer(text):
        taken[placeholder.start() : placeholder.end()] = b"\1" * len(placeholder[0])
    kept = []
    for span in spans:
        if taken.find(1, span.start, span.end) < 0:
            taken[span.start : span.end] = b"\1" * (span.end - span.start)
            kept.append(span)
    return sorted(kept, key=lambda span: span.start)


def _replace_in_message(turn: Message, new: Mapping[str, str]) -> Message:
    return turn.model_copy(update={"content": new[turn.content], **_replace_strings(turn.model_extra or {}, new)})


def _iter_strings(value: Any) -> Iterator[str]:
    """The texts within a JSON value, in its order."""
    match value:
        case str():
            yield value
        case dict():
            for part in value.values():
                yield from _iter_strings(part)
        case list() | tuple():
            for part in value:
                yield from _iter_strings(part)


def _replace_strings(value: Any, new: Mapping[str, str]) -> Any:
    """The same JSON value with other texts."""
    match value:
        case str():
            return new[value]
        case dict():
            return {key: _replace_strings(part, new) for key, part in value.items()}
        case list() | tuple():
            return [_replace_strings(part, new) for part in value]
        case _:
            return value
