import dataclasses
import subprocess
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copydesk.data.record import EditRecord
from copydesk.errors import InputError
from copydesk.simulate.held_out import HeldOutMetrics, TextMetrics, compute_text_metrics


def record(response: str, edit: str | None, name: str = "a") -> EditRecord:
    return EditRecord(id=name, context=f"context of {name}", response=response, edit=edit)


def measure(texts: Sequence[str], held_out: Sequence[EditRecord], log: Sequence[EditRecord] = ()) -> TextMetrics:
    return compute_text_metrics(texts, held_out, log)


@pytest.mark.parametrize(
    ("text", "unfixed"),
    [
        ("hi ann , see you", 0.0),  # the edit itself
        ("dear ann , see you", 1.0),  # the response itself: "hi" is missing, "dear" is present
        ("ann , see you", 0.5),
        ("dear hi ann", 0.5),
        ("hi bob , thanks a lot", 0.0),  # words that the edit left alone do not count
        ("", 0.5),
    ],
)
def test_the_unfixed_share_counts_the_words_that_the_edit_changed(text: str, unfixed: float) -> None:
    assert measure([text], [record("dear ann , see you", "hi ann , see you")]).unfixed == unfixed


def test_of_a_word_kept_once_and_removed_once_one_is_to_be_there() -> None:
    held_out = [record("so so good", "so good")]
    assert [measure([text], held_out).unfixed for text in ("so good", "so so good", "good")] == [0.0, 1.0, 0.0]
    held_out = [record("so good", "so so good")]
    assert [measure([text], held_out).unfixed for text in ("so so good", "so good", "good")] == [0.0, 1.0, 1.0]


def test_rows_count_by_their_number_of_changed_words() -> None:
    held_out = [record("a", "b", "1"), record("c d e", "f g h", "2"), record("x", "x", "3")]
    assert measure(["b", "c d e", "y"], held_out).unfixed == pytest.approx(6 / 8)


def test_an_edit_that_moves_words_leaves_nothing_to_fix() -> None:
    assert measure(["a b"], [record("a b", "b a")]).unfixed == 0.0


WORDS = st.lists(st.sampled_from("abcd"), max_size=6).map(" ".join)


@given(WORDS, WORDS, WORDS)
def test_the_edit_itself_is_fixed_and_the_response_is_not(response: str, edit: str, text: str) -> None:
    if response == edit:
        return
    held_out = [record(response, edit)]
    assert measure([edit], held_out).unfixed == 0.0
    assert measure([response], held_out).unfixed in (0.0, 1.0)
    assert (measure([response], held_out).unfixed == 0.0) == (sorted(response) == sorted(edit))
    assert 0.0 <= measure([text], held_out).unfixed <= 1.0


def test_a_bigram_is_known_from_responses_and_edits_of_the_log() -> None:
    log = [record("dear ann", "hi ann"), record("hi bob", None)]
    held_out = [record("x", "y")]
    assert measure(["dear ann"], held_out, log).unknown_bigrams == 0.0
    assert measure(["hi bob"], held_out, log).unknown_bigrams == 0.0
    assert measure(["ann dear"], held_out, log).unknown_bigrams == 1.0  # it begins, goes on and ends as no text does
    assert measure(["hi ann dear"], held_out, log).unknown_bigrams == 0.5
    assert measure([""], held_out, log).unknown_bigrams == 1.0


def test_all_bigrams_of_all_texts_count_alike() -> None:
    log = [record("a b c", "a b c")]
    held_out = [record("x", "y", "1"), record("x", "y", "2")]
    assert measure(["a b c", "z"], held_out, log).unknown_bigrams == pytest.approx(2 / 6)


def test_a_text_is_strange_with_more_unknown_bigrams_than_nearly_all_edits() -> None:
    log = [record("a b c d e f", "a b c d e f")]
    # Of 20 edits one may have more than usual: 18 have none, one has two unknown bigrams and one has four.
    edits = ["a b c d e f"] * 18 + ["a b z d e f", "b a"]
    held_out = [record("a", edit, str(row)) for row, edit in enumerate(edits)]
    assert measure(edits, held_out, log).strange == measure(edits, held_out, log).strange_edits == 1 / 20
    texts = ["a b z d e f"] * 5 + ["f e d"] * 4 + ["a b c d e f"] * 11  # two unknown bigrams, four, and none
    found = measure(texts, held_out, log)
    assert (found.strange, found.strange_edits) == (4 / 20, 1 / 20)


def test_a_text_that_repeats_four_words_more_often_than_any_edit_is_a_repetition() -> None:
    held_out = [record("x", "a b c d , a b c d", "1"), record("x", "y", "2")]
    twice, thrice = "one two three four and one two three four", "one two three four " * 3
    assert measure([twice, "y"], held_out).repetition == 0.0
    assert measure([twice, thrice], held_out).repetition == 0.5
    assert measure(["a b c", ""], held_out).repetition == 0.0


def test_there_is_one_text_for_each_held_out_row() -> None:
    with pytest.raises(InputError, match="1 texts for 2 held-out rows"):
        measure(["a"], [record("a", "b"), record("c", "d")])


def test_pending_rows_are_refused() -> None:
    with pytest.raises(InputError, match="'late': its edit is still pending"):
        measure(["a", "c"], [record("a", "b"), record("c", None, "late")])


def test_without_an_edited_row_there_is_nothing_to_measure() -> None:
    for held_out in ([record("a", "a")], []):
        with pytest.raises(InputError, match="no held-out row is edited"):
            measure(["a"] * len(held_out), held_out)


def test_the_metrics_are_written_under_their_names() -> None:
    values = {field.name: place / 8 for place, field in enumerate(dataclasses.fields(HeldOutMetrics))}
    assert HeldOutMetrics(**values).to_json() == values


def test_texts_are_measured_without_torch() -> None:
    code = "import sys, copydesk.simulate.held_out; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
