import pytest
from hypothesis import given
from hypothesis import strategies as st

from copydesk.training.encode import Triple
from copydesk.training.packing import EDIT, RESPONSE, TRUNK, fill_rows, lay_out

TRIPLE = Triple("a", (1, 2, 3), (10, 11, 0), (10, 12, 13, 0))


def test_a_packed_triple_holds_what_is_shared_once() -> None:
    batch = lay_out([TRIPLE], with_response=True)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 10, 11, 0, 12, 13, 0]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 5, 4, 5, 6]]
    assert batch["branch"].tolist() == [[TRUNK] * 4 + [RESPONSE] * 2 + [EDIT] * 3]
    # The shared 10 is predicted by the context's end; both branches begin after it.
    assert batch["source"].tolist() == [2, 3, 4, 3, 6, 7]
    assert batch["target"].tolist() == [10, 11, 0, 12, 13, 0]
    assert batch["part"].tolist() == [TRUNK, RESPONSE, RESPONSE, EDIT, EDIT, EDIT]


def test_supervision_needs_no_response() -> None:
    batch = lay_out([TRIPLE], with_response=False)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 10, 12, 13, 0]]
    assert batch["branch"].unique().tolist() == [TRUNK]


def test_an_accepted_row_has_no_branches() -> None:
    batch = lay_out([Triple("a", (1, 2), (5, 0), (5, 0))], with_response=True)
    assert batch["input_ids"].tolist() == [[1, 2, 5, 0]]
    assert batch["part"].tolist() == [TRUNK, TRUNK]


def test_separate_rows_hold_one_answer_each() -> None:
    batch = lay_out([TRIPLE], with_response=True, layout="separate")
    assert batch["input_ids"].tolist() == [[1, 2, 3, 10, 12, 13, 0], [1, 2, 3, 10, 11, 0, 0]]
    assert batch["triple"].tolist() == [[0] * 7, [0] * 6 + [-1]]
    assert batch["part"].tolist() == [EDIT] * 4 + [RESPONSE] * 3


def test_rows_are_filled_up_to_the_budget() -> None:
    short = Triple("b", (1,), (2, 0), (2, 0))
    batch = lay_out([short, TRIPLE, short, short], with_response=True)
    assert batch["input_ids"].shape == (2, 9)
    assert lay_out([short, TRIPLE, short, short], with_response=True, row_tokens=18)["input_ids"].shape == (1, 18)
    assert lay_out([short, TRIPLE, short, short], with_response=True, row_tokens=4)["input_ids"].shape == (4, 9)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.none() | st.integers(1, 100))
def test_every_run_has_its_place_and_no_row_overflows(lengths: list[int], row_tokens: int | None) -> None:
    rows = fill_rows(lengths, row_tokens)
    assert sorted(place for row in rows for place in row) == list(range(len(lengths)))
    room = max(lengths) if row_tokens is None else row_tokens
    assert all(sum(lengths[place] for place in row) <= room or len(row) == 1 for row in rows)
    # No two rows could have been one.
    totals = sorted(sum(lengths[place] for place in row) for row in rows)
    assert len(totals) < 2 or totals[0] + totals[1] > room


@pytest.mark.parametrize("compare", [True, False])
def test_every_scored_token_is_the_one_its_source_predicts(compare: bool) -> None:
    triples = [TRIPLE, Triple("b", (4, 5), (6, 0), (6, 0)), Triple("c", (7,), (8, 9, 0), (0,))]
    batch = lay_out(triples, with_response=compare, row_tokens=30)
    ids, positions = batch["input_ids"].flatten(), batch["position_ids"].flatten()
    columns = (batch[name].tolist() for name in ("source", "target", "owner", "part"))
    for source, target, owner, part in zip(*columns, strict=True):
        triple = triples[owner]
        answer = triple.response if part == RESPONSE else triple.edit
        at = int(positions[source]) + 1 - len(triple.context)
        assert answer[at] == target
        whole = triple.context + answer
        assert int(ids[source]) == whole[int(positions[source])]
