from collections import Counter

from copydesk.diagnose.statistics import ReservoirSample


def drawn(size: int, rows: int, seed: int) -> list[int]:
    reservoir: ReservoirSample[int] = ReservoirSample(size, seed)
    for row in range(rows):
        reservoir.add(row)
    return reservoir.items()


def test_a_log_smaller_than_the_sample_is_kept_whole() -> None:
    assert drawn(10, 4, seed=0) == [0, 1, 2, 3]


def test_the_seed_decides_and_the_order_is_that_of_the_rows() -> None:
    sample = drawn(5, 100, seed=1)
    assert sample == sorted(set(sample))
    assert len(sample) == 5
    assert sample == drawn(5, 100, seed=1)
    assert sample != drawn(5, 100, seed=2)


def test_every_row_is_as_likely() -> None:
    seen = Counter(row for seed in range(2000) for row in drawn(2, 10, seed))
    # 400 expected of each; the standard deviation is 18.
    assert all(abs(seen[row] - 400) < 80 for row in range(10))
