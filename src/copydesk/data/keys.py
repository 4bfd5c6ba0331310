"""Keys, tokens and passwords in URLs, found by Kingfisher's rules (MongoDB, https://github.com/mongodb/kingfisher).

Its rules know the form of each provider's keys, and most check how random they are. What only looks random is not
taken for a key, and neither is the word after `password:`: in prose that finds many words and few passwords. Looking is
offline; whether a key still works is never tried.
"""

from collections.abc import Iterator

from kingfisher_sdk import DetectionScanner, Rules

from copydesk.cache import cache_folder


class KeyFinder:
    """Finds keys; the rules are compiled in seconds at first use, and come from Copydesk's cache afterwards."""

    def __init__(self) -> None:
        rules = Rules(cache_dir=cache_folder() / "kingfisher")
        # A comment in the text must not switch a rule off, and markup hides nothing from a reader.
        self._scanner = DetectionScanner(rules, base64=False, inline_ignores=False, markup_context=False)

    def __call__(self, text: str) -> Iterator[tuple[int, int]]:
        """Where keys stand in a text."""
        # NULs would have it guess at UTF-16; half of a surrogate pair is one character before and after.
        data = text.replace("\0", " ").encode("utf-8", "replace")
        found = self._scanner.scan(data)
        # An invisible finding is one half of a credential, and means nothing without a visible one beside it.
        if any(finding.visible for finding in found):
            for finding in found:
                start = len(data[: finding.location["start_offset"]].decode())
                yield start, start + len(finding.secret)
