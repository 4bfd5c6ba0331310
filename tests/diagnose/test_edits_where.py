import pytest

from copydesk.diagnose.edits import EditPositionAccumulator, align_edit

TEXT = "a b c d e f g h i j"


def test_the_tenths_of_a_text_of_ten_words() -> None:
    placing = EditPositionAccumulator()
    placing.add(align_edit(TEXT, "X b c d e f g h i Y"))
    placing.add(align_edit(TEXT, f"{TEXT} k l"))  # at the very end: in the last tenth
    where = placing.result()
    assert where.words == 4
    assert where.shares == pytest.approx((0.25, *[0.0] * 8, 0.75))
    assert where.sentence == "People edit the end most: 75% of the changes are in that 30% of the text."


def test_edits_everywhere_single_out_no_part() -> None:
    placing = EditPositionAccumulator()
    placing.add(align_edit(TEXT, "A B C D E F G H I J"))
    where = placing.result()
    assert where.shares == pytest.approx([0.1] * 10)
    assert "all over" in where.sentence


def test_short_and_empty_responses() -> None:
    placing = EditPositionAccumulator()
    placing.add(align_edit("", "a b"))
    placing.add(align_edit("a", "b"))
    assert placing.result().shares[0] == 1
    assert EditPositionAccumulator().result().shares == ()
