from collections.abc import Hashable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from copydesk.data.cost import compute_edit_distances

# Few units, so that sequences share much. Ids of tokens may be those of surrogates, and larger than any character's.
IDS = st.lists(st.sampled_from([0, 1, 255, 256, 0xD800, 0xDFFF, 0x10FFFF, 2**31]), max_size=12)
WORDS = st.lists(st.sampled_from(["", "a", "ab", "the", "😀", "e\u0301", "é", "\ud83d"]), max_size=12)
TEXTS = st.text(st.sampled_from("ab é\u0301好😀\ud83d\ude00"), max_size=12)
PAIRS = st.sampled_from([IDS, WORDS, TEXTS]).flatmap(lambda kind: st.lists(st.tuples(kind, kind), max_size=6))


def textbook(before: Sequence[Hashable], after: Sequence[Hashable]) -> int:
    """Wagner and Fischer's table, row by row."""
    row = list(range(len(after) + 1))
    for deleted, one in enumerate(before, start=1):
        above, row = row, [deleted]
        for place, other in enumerate(after):
            row.append(min(above[place + 1] + 1, row[place] + 1, above[place] + (one != other)))
    return row[-1]


@given(pairs=PAIRS, times=st.sampled_from([1, 50]))
def test_what_the_textbook_says(pairs: list[tuple[Sequence[Hashable], Sequence[Hashable]]], times: int) -> None:
    pairs = pairs * times  # few pairs are done in this thread, many in others
    before, after = [one for one, _ in pairs], [other for _, other in pairs]
    assert (
        compute_edit_distances(before, after)
        == [textbook(one, other) for one, other in pairs[: len(pairs) // times]] * times
    )


@pytest.mark.parametrize("kept", [0, 3, 40, 200, 400])
def test_long_sequences_however_far_apart(kept: int) -> None:
    before = list(range(400))
    after = [unit if unit % 401 < kept else 1000 + unit for unit in before][3:]
    expected = textbook(before, after)
    assert compute_edit_distances([before], [after]) == [expected] == [Levenshtein.distance(before, after)]
    assert 3 <= expected <= 400


def test_nothing_and_plain_integers() -> None:
    assert compute_edit_distances([], []) == []
    found = compute_edit_distances([[1, 2]], [[]])
    assert found == [2] and type(found[0]) is int
