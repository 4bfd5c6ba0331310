from dataclasses import replace

import pytest

from copydesk.diagnose.cautions import find_cautions
from copydesk.diagnose.privacy import Leak, Leaks
from copydesk.diagnose.quality import Coverage
from copydesk.diagnose.statistics import LogCounts

COUNTS = LogCounts(rows=200, pending=0, accepted=100, edited=100, users=3, named=200, largest_user=80, policies=1)
CLEAN = Leaks(0, 0, ())
COVERAGE = Coverage("m", 50, 0, -9.0, -8.0, -0.9, -0.8, -1.0, 2.0, 0.0, 0.5, 0.9, -0.2, foreign=False)


def kinds(
    counts: LogCounts = COUNTS,
    duplicates: tuple[int, list[int]] = (0, []),
    leaks: Leaks = CLEAN,
    near: float = 0.0,
    coverage: Coverage | None = None,
) -> dict[str, str]:
    return {one.kind: one.text for one in find_cautions(counts, duplicates, leaks, near, coverage)}


def test_an_ordinary_log_gives_no_warning() -> None:
    assert kinds(coverage=COVERAGE) == {}


def test_few_edits() -> None:
    assert kinds(replace(COUNTS, edited=49)).keys() == {"few edits"}


def test_one_user_among_several() -> None:
    assert "51%" in kinds(replace(COUNTS, largest_user=102))["one user"]
    assert kinds(replace(COUNTS, largest_user=200, users=1)) == {}
    assert kinds(replace(COUNTS, largest_user=60, named=100)).keys() == {"one user"}


def test_duplicates() -> None:
    assert "(row 4, 9)" in kinds(duplicates=(2, [4, 9]))["duplicates"]
    assert "(row 4, 9, 11 and more)" in kinds(duplicates=(8, [4, 9, 11]))["duplicates"]


def test_leaks_are_placed_and_masked() -> None:
    leaks = Leaks(7, 1, (Leak("e-mail address", 3, "edit", "a…"), Leak("phone number", 5, "context", "+…")))
    found = kinds(leaks=leaks)
    assert "7 (for example row 3 (edit: a…))" in found["e-mail addresses"]
    assert "1 (row 5 (context: +…))" in found["phone numbers"]
    assert "not looked for" in kinds(leaks=Leaks(0, None, ()))["phone numbers"]


@pytest.mark.parametrize(("near", "expected"), [(0.19, False), (0.2, True)])
def test_nearly_identical_pairs(near: float, expected: bool) -> None:
    found = kinds(near=near)
    assert ("near-identical" in found) is expected
    assert not expected or "Keep λ > 0" in found["near-identical"]


def test_a_log_of_another_model() -> None:
    assert "was not written by m" in kinds(coverage=replace(COVERAGE, foreign=True))["another model"]
