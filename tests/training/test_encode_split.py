from copydesk.training.encode import Triple, split_triples


def make(count: int, edited: set[int]) -> list[Triple]:
    return [Triple(f"r{i}", (1,), (2,), (3,) if i in edited else (2,)) for i in range(count)]


def test_every_row_falls_on_one_side() -> None:
    rows = make(50, set(range(50)))
    train, held_out = split_triples(rows, 0.1, seed=0)
    assert len(held_out) == 5
    assert sorted(t.id for t in train + held_out) == sorted(t.id for t in rows)


def test_the_split_follows_the_ids_not_the_order() -> None:
    rows = make(50, set(range(50)))
    _, once = split_triples(rows, 0.2, seed=3)
    _, again = split_triples(rows[::-1], 0.2, seed=3)
    _, other = split_triples(rows, 0.2, seed=4)
    assert {t.id for t in once} == {t.id for t in again} != {t.id for t in other}


def test_small_logs_keep_a_row_on_each_side() -> None:
    assert [len(side) for side in split_triples(make(2, {0, 1}), 0.1, seed=0)] == [1, 1]
    assert [len(side) for side in split_triples(make(1, {0}), 0.1, seed=0)] == [1, 0]


def test_nothing_is_held_out_when_asked() -> None:
    assert split_triples(make(5, {1}), 0.0, seed=0)[1] == []


def test_the_only_edited_row_is_trained_on() -> None:
    for only in range(10):
        train, held_out = split_triples(make(10, {only}), 0.9, seed=0)
        assert any(t.edited for t in train)
        assert len(held_out) == 9
