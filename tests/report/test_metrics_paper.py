"""The figures of the paper's tables."""

import pytest

from copydesk.report.columns import TableNumber, parse_scenario
from copydesk.report.metrics import PAPER_TABLES, get_paper_costs


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("method", ["base", "sft", "dpo", "early", "late"])
def test_max_subopt_is_near_the_largest_gap_of_the_means(method: str, number: TableNumber) -> None:
    table = PAPER_TABLES[number]
    gaps = [cells[method]["mean"] - min(cell["mean"] for cell in cells.values()) for cells in table.costs.values()]
    assert table.max_subopt[method]["mean"] == pytest.approx(max(gaps), abs=0.08)  # theirs is per seed, then averaged


def test_robustness_from_the_papers_means() -> None:
    assert PAPER_TABLES[1].robustness == pytest.approx({"early": 0.2793, "late": 0.2748}, abs=1e-4)
    assert PAPER_TABLES[2].robustness == pytest.approx({"early": 0.1865, "late": 0.1683}, abs=1e-4)


def test_the_columns_of_each_table_are_those_that_parse_as_its_own() -> None:
    for number, table in PAPER_TABLES.items():
        assert [parse_scenario(name).table for name in table.costs] == [number] * 4


@pytest.mark.parametrize(
    ("column", "theirs", "sft"),
    [
        ("email/strong", (1, "email/strong"), 0.4159),
        ("email/weak-to-strong", (1, "email/weak-to-strong"), 0.4539),
        ("prelude-summarization/weak-to-transfer", (2, "summarization/weak-to-transfer"), 0.7698),
    ],
)
def test_columns_match_the_papers_by_task_and_users(column: str, theirs: tuple[TableNumber, str], sft: float) -> None:
    number, name = theirs
    assert get_paper_costs(column) is PAPER_TABLES[number].costs[name]
    assert PAPER_TABLES[number].costs[name]["sft"]["mean"] == sft


@pytest.mark.parametrize(
    "name", ["email/other", "prelude-summarization/weak", "email/strong-n500", "email/strong-to-weak", "code/strong"]
)
def test_other_columns_are_not_in_the_paper(name: str) -> None:
    assert get_paper_costs(name) is None
