"""Finds personal data in a log: e-mail addresses and phone numbers.

Phone numbers are found with `phonenumbers`, the Python port of Google's libphonenumber. Where it is not installed they
are not looked for, and the result says so.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from copydesk.data.record import EditRecord
from copydesk.errors import InputError

LeakKind = Literal["e-mail address", "phone number"]

_EMAIL = re.compile(r"(?<![\w.%+-])[A-Za-z0-9][\w.%+-]*@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}(?![\w-])")
_DIGITS = re.compile(r"\d(?:[^\w\n]{0,3}\d){6}")  # a cheap filter before the expensive phone number matcher
_MAX_SHOWN = 5


class LeakSpan(NamedTuple):
    """Position of personal data in a text."""

    kind: LeakKind
    start: int
    end: int


@dataclass(frozen=True)
class Leak:
    """One finding, without the personal data itself.

    Attributes:
        kind: kind of personal data.
        row: number of the row, from 1.
        field: field of the row that holds it.
        masked: its first character and an ellipsis.
    """

    kind: LeakKind
    row: int
    field: str
    masked: str


@dataclass(frozen=True)
class Leaks:
    """Personal data found in a log.

    Attributes:
        emails: number of rows with an e-mail address.
        phones: number of rows with a phone number; `None` where they were not looked for.
        first: the first few findings, at most one for each row and kind.
    """

    emails: int
    phones: int | None
    first: tuple[Leak, ...]


class LeakDetector:
    """Counts rows with personal data, one row at a time.

    Args:
        region: country of phone numbers without a country code, as ISO 3166-1 alpha-2; numbers that begin with `+` are
            always found.

    Raises:
        InputError: there is no such region.
    """

    def __init__(self, region: str = "US") -> None:
        self._phones = _make_phone_finder(region)
        self._rows: dict[LeakKind, int] = {"e-mail address": 0, "phone number": 0}
        self._first: dict[LeakKind, list[Leak]] = {"e-mail address": [], "phone number": []}

    def add(self, number: int, record: EditRecord) -> tuple[str, str]:
        """Scan a row, the `number`-th of the log; returns its response and edit with personal data masked."""
        context = record.context
        context_texts = [context] if isinstance(context, str) else [message.content for message in context]
        counted: set[LeakKind] = set()

        def scan(field: str, text: str) -> str:
            spans = self.find_spans(text)
            for kind, start, _ in spans:
                if kind not in counted:
                    counted.add(kind)
                    self._rows[kind] += 1
                    if len(self._first[kind]) < _MAX_SHOWN:
                        self._first[kind].append(Leak(kind, number, field, mask_text(text[start])))
            return _mask_spans(text, spans)

        response, edit = scan("response", record.response), scan("edit", record.edit or "")
        for text in context_texts:
            scan("context", text)
        return response, edit

    def find_spans(self, text: str) -> list[LeakSpan]:
        """Positions of personal data in a text, in order and without overlap."""
        found = [LeakSpan("e-mail address", *match.span()) for match in _EMAIL.finditer(text)] if "@" in text else []
        if self._phones is not None and _DIGITS.search(text):
            emails = list(found)
            for start, end in self._phones(text):
                if not any(start < email.end and email.start < end for email in emails):
                    found.append(LeakSpan("phone number", start, end))
        return sorted(found, key=lambda span: span.start)

    def result(self) -> Leaks:
        """The findings so far."""
        first = sorted((leak for leaks in self._first.values() for leak in leaks), key=lambda leak: leak.row)
        phones = self._rows["phone number"] if self._phones is not None else None
        return Leaks(self._rows["e-mail address"], phones, tuple(first))


def mask_text(text: str) -> str:
    """The first character and an ellipsis."""
    return text[:1] + "…"


def _mask_spans(text: str, spans: list[LeakSpan]) -> str:
    parts, done = [], 0
    for span in spans:
        parts += [text[done : span.start], mask_text(text[span.start])]
        done = span.end
    return "".join([*parts, text[done:]])


def _make_phone_finder(region: str) -> Callable[[str], list[tuple[int, int]]] | None:
    try:
        from phonenumbers import SUPPORTED_REGIONS, PhoneNumberMatcher  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return None
    if region not in SUPPORTED_REGIONS:
        raise InputError(f"--region {region}: there is no such region; give two letters such as US, GB or DE")
    return lambda text: [(match.start, match.end) for match in PhoneNumberMatcher(text, region)]
