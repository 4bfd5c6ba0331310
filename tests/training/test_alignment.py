import subprocess
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copydesk.data.cost import compute_edit_distances
from copydesk.training.alignment import find_changed_tokens

ANSWERS = st.lists(st.integers(1, 4), max_size=9)
END = 0


def find_changed_words(response: str, edit: str) -> str:
    """The edit's words with the changed ones in brackets; a full stop ends the turn."""
    words = [*edit.split(), "."]
    changed = find_changed_tokens([*response.split(), "."], words)
    return " ".join(f"[{word}]" if new else word for word, new in zip(words, changed, strict=True))


@pytest.mark.parametrize(
    ("response", "edit", "found"),
    [
        ("dear ann good bye", "dear ann good bye", "dear ann good bye ."),
        ("dear ann good bye", "hi ann good bye", "[hi] ann good bye ."),
        ("dear ann good bye", "dear ann have a good bye", "dear ann [have] [a] good bye ."),
        ("dear ann good bye", "dear good bye", "dear [good] bye ."),
        ("dear ann good bye", "dear ann", "dear ann [.]"),
        ("dear ann good bye", "dear ann good luck", "dear ann good [luck] ."),
        ("dear ann good bye", "dear ann good bye now", "dear ann good bye [now] ."),
        ("dear old ann good bye", "hi ann good bye", "[hi] ann good bye ."),
        ("dear ann", "", "[.]"),
        ("", "hi", "[hi] ."),
    ],
)
def test_changed_tokens_are_those_written_and_the_one_after_a_deletion(response: str, edit: str, found: str) -> None:
    assert find_changed_words(response, edit) == found


@given(ANSWERS, ANSWERS)
def test_some_token_is_changed_exactly_if_the_answer_is(response: list[int], edit: list[int]) -> None:
    changed = find_changed_tokens([*response, END], [*edit, END])
    assert len(changed) == len(edit) + 1
    assert any(changed) == (response != edit)


@given(ANSWERS, ANSWERS)
def test_the_marks_are_those_of_a_shortest_edit_script(response: list[int], edit: list[int]) -> None:
    y, edited = [*response, END], [*edit, END]
    changed = find_changed_tokens(y, edited)
    assert cheapest_script(y, edited, changed) == compute_edit_distances([y], [edited])[0]


@given(ANSWERS, ANSWERS)
def test_tokens_that_are_not_changed_are_in_the_response_in_their_order(response: list[int], edit: list[int]) -> None:
    rest = iter(response)
    kept = [token for token, new in zip(edit, find_changed_tokens(response, edit), strict=True) if not new]
    assert all(token in rest for token in kept)


def test_a_changed_token_is_found_in_a_long_answer() -> None:
    y = list(range(5000))
    edited = [*y[:2500], -7, *y[2501:4000], *y[4010:]]
    changed = find_changed_tokens(y, edited)
    assert [place for place, new in enumerate(changed) if new] == [2500, 4000]


def test_the_alignment_needs_no_torch() -> None:
    code = "import sys, copydesk.training.alignment; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def cheapest_script(y: Sequence[int], edited: Sequence[int], changed: Sequence[bool]) -> float:
    """The fewest insertions, deletions and replacements of a script that leaves exactly these marks.

    A script is read from left to right; between two kept tokens it deletes, inserts and replaces. The state is how
    much of either side was read, whether tokens were deleted since the last kept one, and whether any were written.
    """
    states = {(0, 0, False, False): 0}
    best = float("inf")
    while states:
        (i, j, deleted, written), paid = min(states.items(), key=lambda item: item[0][0] + item[0][1])
        del states[i, j, deleted, written]
        if (i, j) == (len(y), len(edited)):
            best = min(best, paid)
        following = []
        if i < len(y):
            following.append(((i + 1, j, True, written), paid + 1))
        if j < len(edited) and changed[j]:
            following.append(((i, j + 1, deleted, True), paid + 1))
        if i < len(y) and j < len(edited):
            if changed[j]:
                following.append(((i + 1, j + 1, deleted, True), paid + 1))
            if y[i] == edited[j] and changed[j] == (deleted and not written):
                following.append(((i + 1, j + 1, False, False), paid))
        for state, cost in following:
            states[state] = min(cost, states.get(state, cost))
    return best
