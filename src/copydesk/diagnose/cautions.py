"""What should make one think before training on a log."""

from dataclasses import dataclass
from typing import Literal

from copydesk.diagnose.advice import NEAR_SHARE
from copydesk.diagnose.privacy import Leak, Leaks
from copydesk.diagnose.quality import NEAR_COST, NEAR_WORDS, Coverage
from copydesk.diagnose.statistics import LogCounts

MIN_EDITED_ROWS = 50
"""Below so many edited rows, what is measured here is mostly chance, and what is learnt too."""

DOMINANT_USER_SHARE = 0.5

CautionKind = Literal[
    "few edits", "one user", "duplicates", "e-mail addresses", "phone numbers", "near-identical", "another model"
]


@dataclass(frozen=True)
class Caution:
    """One warning: what is the matter, and one sentence that says so."""

    kind: CautionKind
    text: str


def find_cautions(
    counts: LogCounts, duplicates: tuple[int, list[int]], leaks: Leaks, near_identical: float, coverage: Coverage | None
) -> tuple[Caution, ...]:
    """What speaks for caution, the gravest first.

    Args:
        counts: of the log.
        duplicates: how many rows repeat an earlier one, and the numbers of a few.
        leaks: personal data.
        near_identical: the share of edited rows that differ by next to nothing.
        coverage: where a model was asked.
    """
    found: list[Caution] = []
    if leaks.emails:
        found.append(_privacy_caution("e-mail addresses", "e-mail address", leaks.emails, leaks))
    if leaks.phones:
        found.append(_privacy_caution("phone numbers", "phone number", leaks.phones, leaks))
    if leaks.phones is None:
        found.append(
            Caution("phone numbers", "Phone numbers were not looked for; pip install phonenumbers, and run again.")
        )
    if counts.edited < MIN_EDITED_ROWS:
        found.append(
            Caution(
                "few edits",
                f"Edited rows: only {counts.edited}. Below {MIN_EDITED_ROWS} most figures here are chance; log more "
                f"edits.",
            )
        )
    if counts.users > 1 and counts.largest_user > DOMINANT_USER_SHARE * counts.named:
        share = counts.largest_user / counts.named
        found.append(
            Caution(
                "one user",
                f"One of {counts.users} users has {share:.0%} of the rows that name a user: what is learnt is mostly "
                "that person's taste. Weigh users alike (copydesk train --weigh), or train for that user alone.",
            )
        )
    repeated, where = duplicates
    if repeated:
        rows, more = ", ".join(map(str, where)), " and more" if repeated > len(where) else ""
        found.append(
            Caution(
                "duplicates",
                f"Rows that repeat an earlier one word for word: {repeated:,} (row {rows}{more}). "
                "They count more than once, and one may be trained on while the other measures the result.",
            )
        )
    if counts.edited and near_identical >= NEAR_SHARE:
        found.append(
            Caution(
                "near-identical",
                f"{near_identical:.0%} of the edits change next to nothing (a cost of at most {NEAR_COST:g}, or at "
                f"most {NEAR_WORDS} words): DPO may displace likelihood on such pairs, making both less likely "
                "(Razin et al., arXiv 2410.08847). Keep λ > 0.",
            )
        )
    if coverage is not None and coverage.foreign:
        found.append(
            Caution(
                "another model",
                f"This log was not written by {coverage.model}: its responses have {coverage.response_per_token:.2f} "
                f"nats a token under it, its own {coverage.own_per_token or 0.0:.2f}. "
                f"Coverage is of {coverage.model}, and preferences between texts it would not write teach it little.",
            )
        )
    return tuple(found)


def _privacy_caution(kind: Literal["e-mail addresses", "phone numbers"], one: str, rows: int, leaks: Leaks) -> Caution:
    shown: list[Leak] = [leak for leak in leaks.first if leak.kind == one]
    places = ", ".join(f"row {leak.row} ({leak.field}: {leak.masked})" for leak in shown)
    where = places if rows == len(shown) else f"for example {places}"
    return Caution(
        kind,
        f"Rows with {'an' if one[0] == 'e' else 'a'} {one}: {rows:,} ({where}). A model can learn it by heart; take "
        "such things out first.",
    )
