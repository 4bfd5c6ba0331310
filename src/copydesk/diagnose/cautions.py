"""Warnings about a log: personal data, few edits, duplicates, near-identical pairs, a dominant user, another model."""

from dataclasses import dataclass
from typing import Literal

from copydesk.diagnose.advice import NEAR_SHARE
from copydesk.diagnose.privacy import Leak, Leaks
from copydesk.diagnose.quality import NEAR_COST, NEAR_WORDS, Coverage
from copydesk.diagnose.statistics import LogCounts

MIN_EDITED_ROWS = 50
"""Below this many edited rows, measurements and training are mostly noise."""

DOMINANT_USER_SHARE = 0.5

CautionKind = Literal[
    "few edits", "one user", "duplicates", "e-mail addresses", "phone numbers", "near-identical", "another model"
]


@dataclass(frozen=True)
class Caution:
    """One warning: its kind, and a text that explains it."""

    kind: CautionKind
    text: str


def find_cautions(
    counts: LogCounts, duplicates: tuple[int, list[int]], leaks: Leaks, near_identical: float, coverage: Coverage | None
) -> tuple[Caution, ...]:
    """Find what to fix or check before training, the most serious first.

    Args:
        counts: counts of rows and users.
        duplicates: how many rows repeat an earlier one, and the numbers of the first few.
        leaks: personal data found.
        near_identical: share of edited rows whose edit changes almost nothing.
        coverage: coverage by a model, where it was measured.
    """
    found: list[Caution] = []
    if leaks.emails:
        found.append(_privacy_caution("e-mail addresses", "e-mail address", leaks.emails, leaks))
    if leaks.phones:
        found.append(_privacy_caution("phone numbers", "phone number", leaks.phones, leaks))
    if leaks.phones is None:
        found.append(
            Caution("phone numbers", "Phone numbers were not looked for: run pip install phonenumbers and try again.")
        )
    if counts.edited < MIN_EDITED_ROWS:
        found.append(
            Caution(
                "few edits",
                f"Edited rows: only {counts.edited}. Below {MIN_EDITED_ROWS} most of these figures are noise; log more "
                "edits.",
            )
        )
    if counts.users > 1 and counts.largest_user > DOMINANT_USER_SHARE * counts.named:
        share = counts.largest_user / counts.named
        found.append(
            Caution(
                "one user",
                f"One of {counts.users} users has {share:.0%} of the rows that name a user, so training mostly learns "
                "that person's preferences. Weight users equally (copydesk train --row-weighting user), or train for "
                "that user alone.",
            )
        )
    repeated, where = duplicates
    if repeated:
        rows, more = ", ".join(map(str, where)), " and more" if repeated > len(where) else ""
        found.append(
            Caution(
                "duplicates",
                f"Rows that repeat an earlier one word for word: {repeated:,} (row {rows}{more}). "
                "They count more than once, and one copy may be in the training set while another is held out.",
            )
        )
    if counts.edited and near_identical >= NEAR_SHARE:
        found.append(
            Caution(
                "near-identical",
                f"{near_identical:.0%} of the edits change almost nothing (a cost of at most {NEAR_COST:g}, or at "
                f"most {NEAR_WORDS} words). On such pairs DPO can make both texts less likely (likelihood "
                "displacement: Razin et al., arXiv 2410.08847). Keep λ > 0.",
            )
        )
    if coverage is not None and coverage.foreign:
        found.append(
            Caution(
                "another model",
                f"This log was not written by {coverage.model}: the log's responses have a log-probability of "
                f"{coverage.response_per_token:.2f} nats per token under it, its own responses "
                f"{coverage.own_per_token or 0.0:.2f}. Coverage is measured for {coverage.model}; preferences between "
                "texts it would not write teach it little.",
            )
        )
    return tuple(found)


def _privacy_caution(kind: Literal["e-mail addresses", "phone numbers"], one: str, rows: int, leaks: Leaks) -> Caution:
    shown: list[Leak] = [leak for leak in leaks.first if leak.kind == one]
    places = ", ".join(f"row {leak.row} ({leak.field}: {leak.masked})" for leak in shown)
    where = places if rows == len(shown) else f"for example {places}"
    return Caution(
        kind,
        f"Rows with {'an' if one[0] == 'e' else 'a'} {one}: {rows:,} ({where}). A model can memorize it; redact it "
        "before training.",
    )
