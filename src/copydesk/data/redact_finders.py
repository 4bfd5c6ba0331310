"""Finders of personal data (Presidio, `phonenumbers`) and of keys (Kingfisher) in texts; all offline.

Presidio (https://github.com/data-privacy-stack/presidio) checks its findings: the suffix of a domain, the check digits
of a card, an account or a wallet. Its recognizers are called one by one, so that no language model is loaded; names of
people and places are not looked for. A cheap condition that every finding meets runs before each recognizer, as most
texts hold none. `phonenumbers`, the Python port of Google's libphonenumber, accepts only numbers that can be dialled,
so dates, prices and versions are not taken for one.

Keys, tokens and passwords in URLs are found by the rules of Kingfisher (MongoDB,
https://github.com/mongodb/kingfisher), which know the form of each provider's keys and mostly check their randomness.
Text that only looks random is not taken for a key, and neither is the word after `password:`, which in prose is rarely
a password. Whether a key still works is never tried.
"""

import re
from collections.abc import Callable, Iterator

import regex  # type: ignore[import-untyped, unused-ignore]  # Presidio compiles its patterns with it, not with `re`
from kingfisher_sdk import DetectionScanner, Rules
from phonenumbers import SUPPORTED_REGIONS, PhoneNumberMatcher
from presidio_analyzer import PatternRecognizer
from presidio_analyzer.predefined_recognizers import (
    CreditCardRecognizer,
    CryptoRecognizer,
    EmailRecognizer,
    IbanRecognizer,
    IpRecognizer,
    MacAddressRecognizer,
    UsSsnRecognizer,
)
from tldextract import TLDExtract

from copydesk.data.redact_kinds import RedactionKind
from copydesk.errors import InputError
from copydesk.model_registry import cache_folder

SpanFinder = Callable[[str], Iterator[tuple[int, int]]]
"""Gives the start and end of each finding in a text; findings may overlap."""

_MIN_SCORE = 0.5  # below it Presidio asks for a word beside it, such as `SSN`, that supports the finding
_UNICODE_FLAGS = regex.IGNORECASE | regex.MULTILINE | regex.DOTALL
_ASCII_FLAGS = _UNICODE_FLAGS | regex.ASCII

# An address has at most 64 characters before the sign and 255 behind it (RFC 5321, 4.5.3.1). Without that limit, the
# recogniser's time grows with the square of a long text's length.
_EMAIL_WINDOW = re.compile(r"\S{1,64}@(?=(\S{1,255}))")
_SEVEN_DIGITS = re.compile(r"\d(?:[^\w\n]{0,3}\d){6}")


def build_personal_data_finders(region: str) -> dict[RedactionKind, SpanFinder]:
    """A finder for each kind of personal data.

    Args:
        region: the region of phone numbers without a country code, as ISO 3166-1 alpha-2.

    Raises:
        InputError: there is no such region.
    """
    if region not in SUPPORTED_REGIONS:
        raise InputError(f"--region {region}: there is no such region; give two letters such as US, GB or DE")
    return {
        "IBAN": _build_recognizer_finder(IbanRecognizer(), r"[A-Z]{2}[0-9]{2}[ -]?[A-Z0-9]{4}"),
        "CARD": _build_recognizer_finder(CreditCardRecognizer(), r"\d{4}[- ]?\d{3,4}[- ]?\d{3,4}[- ]?\d{3}"),
        "WALLET": _build_recognizer_finder(CryptoRecognizer(), r"[a-zA-Z0-9]{26}"),
        "EMAIL": _build_email_finder(),
        "SSN": _build_recognizer_finder(UsSsnRecognizer(), r"\d{3}[- .]\d{2}[- .]\d{4}"),
        "MAC": _build_recognizer_finder(
            MacAddressRecognizer(), r"[0-9A-Fa-f]{2}[:-][0-9A-Fa-f]{2}[:-]|\.[0-9A-Fa-f]{4}\."
        ),
        "IP": _build_recognizer_finder(IpRecognizer(), r"\d\.\d{1,3}\.\d|:[0-9A-Fa-f]{0,4}:"),
        "PHONE": lambda text: _iter_phone_spans(text, region),
    }


def _build_recognizer_finder(recognizer: PatternRecognizer, condition: str) -> SpanFinder:
    meets = re.compile(condition).search
    # ASCII, as the end of a word in Chinese or Japanese is no `\b`.
    return lambda text: _iter_recognized_spans(recognizer, text, _ASCII_FLAGS) if meets(text) else iter(())


def _iter_recognized_spans(recognizer: PatternRecognizer, text: str, flags: int) -> Iterator[tuple[int, int]]:
    for result in recognizer.analyze(text, recognizer.supported_entities, regex_flags=flags):
        if result.score >= _MIN_SCORE:
            yield result.start, result.end


def _build_email_finder() -> SpanFinder:
    # The list of suffixes that comes with the package: none is fetched, and nothing is written.
    suffixes = TLDExtract(suffix_list_urls=(), cache_dir=None)

    class Offline(EmailRecognizer):
        def validate_result(self, pattern_text: str) -> bool:
            return bool(suffixes(pattern_text).fqdn)

    ascii_addresses, addresses = Offline(), Offline()  # one for each flag, as each keeps one compiled expression

    def find(text: str) -> Iterator[tuple[int, int]]:
        if "@" not in text:
            return
        for near in _EMAIL_WINDOW.finditer(text):
            start, window = near.start(), near[0] + near[1]
            found = list(_iter_recognized_spans(ascii_addresses, window, _ASCII_FLAGS))
            if not found and not window.isascii():
                found = list(_iter_recognized_spans(addresses, window, _UNICODE_FLAGS))
            for first, end in found:
                yield start + first, start + end

    return find


def _iter_phone_spans(text: str, region: str) -> Iterator[tuple[int, int]]:
    if _SEVEN_DIGITS.search(text):
        for match in PhoneNumberMatcher(text, region):
            yield match.start, match.end


class KeyFinder:
    """Finds keys; the rules are compiled at first use, in seconds, and cached in Copydesk's cache folder."""

    def __init__(self) -> None:
        rules = Rules(cache_dir=cache_folder() / "kingfisher")
        # A comment in the text must not switch a rule off, and markup hides nothing from a reader.
        self._scanner = DetectionScanner(rules, base64=False, inline_ignores=False, markup_context=False)

    def __call__(self, text: str) -> Iterator[tuple[int, int]]:
        """The start and end of each key in a text."""
        # NULs would be read as UTF-16; half of a surrogate pair is one character before and after.
        data = text.replace("\0", " ").encode("utf-8", "replace")
        found = self._scanner.scan(data)
        # An invisible finding is one half of a credential, and means nothing without a visible one beside it.
        if any(finding.visible for finding in found):
            for finding in found:
                start = len(data[: finding.location["start_offset"]].decode())
                yield start, start + len(finding.secret)
