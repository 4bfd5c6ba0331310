from copydesk.diagnose.edits import ChangedSpan, align_edit


def test_spans_positions_and_words_kept() -> None:
    change = align_edit("a b c d e", "a X c d Y Z")
    assert change.spans == [ChangedSpan(1, 2, 1, 2), ChangedSpan(4, 5, 4, 6)]
    assert change.kept == 3
    assert change.distance == 3
    assert set(change.positions) == {1, 4}


def test_adjacent_changes_are_one_span() -> None:
    (run,) = align_edit("a b c", "a X Y Z c").spans
    assert (run.start, run.end, run.to_start, run.to_end) == (1, 2, 1, 4)


def test_an_addition_at_the_end_is_after_the_last_word() -> None:
    change = align_edit("a b", "a b c d")
    assert change.positions == [2, 2]
    assert (change.kept, change.distance) == (2, 2)


def test_equal_texts_and_texts_without_words() -> None:
    assert align_edit("a b", "a b").spans == []
    assert align_edit("", "a").positions == [0]
    assert align_edit("a", "").kept == 0
