"""Personal data with a form of its own, found by Presidio's recognisers and by `phonenumbers`.

Presidio (https://github.com/data-privacy-stack/presidio) checks what it finds: the suffix of a domain, the check digits
of a card, an account or a wallet. Its recognisers are called one by one, so that no language model is loaded; names of
people and places are not looked for. Each is preceded by a condition that is cheap and that whatever it finds meets,
as most texts meet none. `phonenumbers` is the Python port of Google's libphonenumber; it takes numbers that are
dialled somewhere, so dates, prices and versions are none.
"""

import re
from collections.abc import Callable, Iterator

import regex  # type: ignore[import-untyped, unused-ignore]  # Presidio compiles its patterns with it, not with `re`
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

from copydesk.errors import InputError
from copydesk.log.redact.kinds import Kind

Finder = Callable[[str], Iterator[tuple[int, int]]]
"""Where in a text something stands; places may overlap."""

_SURE = 0.5  # below it Presidio wants a word beside it, such as `SSN`, that speaks for it
_UNICODE = regex.IGNORECASE | regex.MULTILINE | regex.DOTALL
_ASCII = _UNICODE | regex.ASCII

# An address has at most 64 characters before the sign and 255 behind it (RFC 5321, 4.5.3.1). Without that limit, the
# recogniser's time grows with the square of a long text's length.
_AROUND_AT = re.compile(r"\S{1,64}@(?=(\S{1,255}))")
_SEVEN_DIGITS = re.compile(r"\d(?:[^\w\n]{0,3}\d){6}")


def personal_finders(region: str) -> dict[Kind, Finder]:
    """A finder for each kind of personal data.

    Args:
        region: where phone numbers without a country's code are dialled, as ISO 3166-1 alpha-2.

    Raises:
        InputError: there is no such region.
    """
    if region not in SUPPORTED_REGIONS:
        raise InputError(f"--region {region}: there is no such region; give two letters such as US, GB or DE")
    return {
        "IBAN": _by(IbanRecognizer(), r"[A-Z]{2}[0-9]{2}[ -]?[A-Z0-9]{4}"),
        "CARD": _by(CreditCardRecognizer(), r"\d{4}[- ]?\d{3,4}[- ]?\d{3,4}[- ]?\d{3}"),
        "WALLET": _by(CryptoRecognizer(), r"[a-zA-Z0-9]{26}"),
        "EMAIL": _emails(),
        "SSN": _by(UsSsnRecognizer(), r"\d{3}[- .]\d{2}[- .]\d{4}"),
        "MAC": _by(MacAddressRecognizer(), r"[0-9A-Fa-f]{2}[:-][0-9A-Fa-f]{2}[:-]|\.[0-9A-Fa-f]{4}\."),
        "IP": _by(IpRecognizer(), r"\d\.\d{1,3}\.\d|:[0-9A-Fa-f]{0,4}:"),
        "PHONE": lambda text: _phones(text, region),
    }


def _by(recognizer: PatternRecognizer, condition: str) -> Finder:
    meets = re.compile(condition).search
    # ASCII, as the end of a word in Chinese or Japanese is no `\b`.
    return lambda text: _places(recognizer, text, _ASCII) if meets(text) else iter(())


def _places(recognizer: PatternRecognizer, text: str, flags: int) -> Iterator[tuple[int, int]]:
    for result in recognizer.analyze(text, recognizer.supported_entities, regex_flags=flags):
        if result.score >= _SURE:
            yield result.start, result.end


def _emails() -> Finder:
    # The list of suffixes that comes with the package: none is fetched, and nothing is written.
    suffixes = TLDExtract(suffix_list_urls=(), cache_dir=None)

    class Offline(EmailRecognizer):
        def validate_result(self, pattern_text: str) -> bool:
            return bool(suffixes(pattern_text).fqdn)

    ascii_addresses, addresses = Offline(), Offline()  # one for each flag, as each keeps one compiled expression

    def find(text: str) -> Iterator[tuple[int, int]]:
        if "@" not in text:
            return
        for near in _AROUND_AT.finditer(text):
            start, window = near.start(), near[0] + near[1]
            found = list(_places(ascii_addresses, window, _ASCII))
            if not found and not window.isascii():
                found = list(_places(addresses, window, _UNICODE))
            for first, end in found:
                yield start + first, start + end

    return find


def _phones(text: str, region: str) -> Iterator[tuple[int, int]]:
    if _SEVEN_DIGITS.search(text):
        for match in PhoneNumberMatcher(text, region):
            yield match.start, match.end
