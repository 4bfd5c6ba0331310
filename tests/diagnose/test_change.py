from copydesk.diagnose.change import Run, change_of


def test_runs_places_and_what_is_kept() -> None:
    change = change_of("a b c d e", "a X c d Y Z")
    assert change.spans == [Run(1, 2, 1, 2), Run(4, 5, 4, 6)]
    assert change.kept == 3
    assert change.distance == 3
    assert set(change.positions) == {1, 4}


def test_what_stands_side_by_side_is_one_run() -> None:
    (run,) = change_of("a b c", "a X Y Z c").spans
    assert (run.start, run.end, run.to_start, run.to_end) == (1, 2, 1, 4)


def test_an_addition_at_the_end_is_after_the_last_word() -> None:
    change = change_of("a b", "a b c d")
    assert change.positions == [2, 2]
    assert (change.kept, change.distance) == (2, 2)


def test_equal_texts_and_texts_without_words() -> None:
    assert change_of("a b", "a b").spans == []
    assert change_of("", "a").positions == [0]
    assert change_of("a", "").kept == 0
