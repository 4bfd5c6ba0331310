import json
import os
import random
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import editdistance
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from copydesk.data import EditCost, EditRecord
from copydesk.data.cost import COST_BATCH_SIZE, CostNormalization, CostUnit
from copydesk.errors import InputError

# Few letters, so that texts share much; white space, a combining mark, an emoji of two code points, a right-to-left
# letter and a Chinese one, so that units differ from characters.
TEXT = st.lists(
    st.sampled_from(["a", "b", " ", "  ", "\n", ".", "'s", "e\u0301", "é", "👍🏽", "א", "好", "\u2028", "the "]),
    max_size=6,
).map("".join)
NORMALIZATIONS: list[CostNormalization] = ["response", "edit", "longest", "none"]


@pytest.fixture(params=["subtoken", "word", "character"], scope="module")
def unit(request: pytest.FixtureRequest) -> CostUnit:
    chosen: CostUnit = request.param
    return chosen


@pytest.fixture(scope="module")
def distance(unit: CostUnit, tokenizer_folder: Path) -> EditCost:
    """The bare distance: what is left when nothing is normalised or capped."""
    return EditCost(unit=unit, normalize="none", tokenizer=str(tokenizer_folder))


# -- a metric ----------------------------------------------------------------------------------------------------------


@given(a=TEXT, b=TEXT)
def test_zero_exactly_when_the_edit_is_the_response(distance: EditCost, a: str, b: str) -> None:
    assert distance(a, a) == 0
    assert (distance(a, b) == 0) == (a == b)


@given(a=TEXT, b=TEXT)
def test_symmetric(distance: EditCost, a: str, b: str) -> None:
    assert distance(a, b) == distance(b, a)


@given(a=TEXT, b=TEXT, c=TEXT)
def test_no_way_round_is_shorter(distance: EditCost, a: str, b: str, c: str) -> None:
    assert distance(a, c) <= distance(a, b) + distance(b, c)


@given(a=TEXT, b=TEXT)
def test_between_the_difference_of_lengths_and_the_longer_length(distance: EditCost, a: str, b: str) -> None:
    lengths = len(distance.split_units(a)), len(distance.split_units(b))
    assert abs(lengths[0] - lengths[1]) <= distance(a, b) <= max(1, *lengths)


@given(a=st.text(max_size=30), b=st.text(max_size=30))
def test_any_unicode_text(distance: EditCost, a: str, b: str) -> None:
    assert (distance(a, b) == 0) == (a == b)
    assert distance(a, b) == distance(b, a)


# -- normalisation and cap ---------------------------------------------------------------------------------------------


@given(a=TEXT, b=TEXT)
def test_each_normalisation_divides_by_its_length(distance: EditCost, a: str, b: str) -> None:
    first, second = len(distance.split_units(a)), len(distance.split_units(b))
    lengths = {"response": first, "edit": second, "longest": max(first, second), "none": 1}
    for normalize in NORMALIZATIONS:
        metric = EditCost(unit=distance.unit, normalize=normalize, tokenizer=distance.tokenizer)
        assert metric(a, b) == distance(a, b) / max(1, lengths[normalize])
        assert metric(a, b) <= 1 or normalize != "longest"
        assert (metric(a, b) == 0) == (a == b)


@given(a=TEXT, b=TEXT, cap=st.floats(0.01, 5))
def test_the_cap_is_the_largest_cost_and_changes_no_smaller_one(a: str, b: str, cap: float) -> None:
    free, capped = EditCost(unit="word"), EditCost(unit="word", cap=cap)
    assert capped(a, b) == min(free(a, b), cap)


def test_examples_by_hand() -> None:
    assert EditCost(unit="word")("I saw the red car", "I saw a car") == 2 / 5
    assert EditCost(unit="word", normalize="edit")("I saw the red car", "I saw a car") == 2 / 4
    assert EditCost(unit="word", normalize="longest")("I saw a car", "I saw the red car") == 2 / 5
    assert EditCost(unit="character", normalize="none")("kitten", "sitting") == 3
    assert EditCost(unit="character")("abc", "") == 1


def test_empty_texts() -> None:
    for normalize in NORMALIZATIONS:
        assert EditCost(unit="word", normalize=normalize)("", "") == 0
    assert EditCost(unit="word")("", "two words") == 2
    assert EditCost(unit="word", cap=1.5)("", "two words") == 1.5
    assert EditCost(unit="word")("two words", "") == 1
    assert EditCost(unit="word", normalize="edit")("two words", "") == 2
    assert EditCost(unit="word")(" ", "\n") == 1


def test_a_change_of_white_space_alone_counts_as_one_word() -> None:
    assert EditCost(unit="word", normalize="none")("One. Two. Three.", "One.\nTwo.\nThree.") == 1


@pytest.mark.parametrize(
    ("response", "edit", "characters"),
    [("é", "e\u0301", 2), ("👍", "👍🏽", 1), ("你好", "你们好", 1), ("\ud83d", "\ud83e", 1), ("a\u2028b", "a b", 1)],
)
def test_characters_are_code_points(response: str, edit: str, characters: int) -> None:
    assert EditCost(unit="character", normalize="none")(response, edit) == characters


# -- parity ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lamp", "expertqa", "defacto", "mlqe_pe"])
def test_parity_with_editdistance_over_nltk_words_on_real_logs(
    shared_data: Path, nltk_words: Callable[[str], list[str]], name: str
) -> None:
    with (shared_data / f"{name}.jsonl").open(encoding="utf-8", newline="\n") as file:
        rows = [json.loads(line) for line in file]
    rows = [row for row in rows if not re.search("[\u4e00-\u9fff]", row["response"])]  # cut apart by us, not by NLTK
    metric = EditCost(unit="word", normalize="none")
    for row in random.Random(0).sample(rows, 100):
        response, edit = row["response"], row["edit"]
        expected = editdistance.eval(nltk_words(response), nltk_words(edit))
        assert metric(response, edit) == max(expected, response != edit)


@settings(max_examples=200)
@given(a=st.text(alphabet="abcd", max_size=80), b=st.text(alphabet="abcd", max_size=80))
def test_parity_with_editdistance_over_characters(a: str, b: str) -> None:
    assert EditCost(unit="character", normalize="none")(a, b) == editdistance.eval(a, b)


# -- records, batches, names -------------------------------------------------------------------------------------------


def record(response: str, edit: str | None) -> EditRecord:
    return EditRecord(id="r1", context="", response=response, edit=edit)


def test_a_record_costs_what_its_texts_cost() -> None:
    assert EditCost(unit="word").cost_of(record("a b", "a c")) == 0.5


def test_a_pending_record_has_no_cost() -> None:
    with pytest.raises(InputError, match="'r1': its edit is still pending"):
        EditCost(unit="word").cost_of(record("a b", None))


@given(pairs=st.lists(st.tuples(TEXT, TEXT), max_size=5))
def test_a_batch_costs_what_its_pairs_cost(distance: EditCost, pairs: list[tuple[str, str]]) -> None:
    assert distance.cost_batch(pairs) == [distance(a, b) for a, b in pairs]


def test_over_keeps_the_order_and_gives_pending_rows_no_cost() -> None:
    records = [record("a b", "a c" if number % 3 else None) for number in range(600)]
    costed = list(EditCost(unit="word").iter_costs(records))
    assert [row for row, _ in costed] == records
    assert [cost for _, cost in costed] == [0.5 if number % 3 else None for number in range(600)]


def plain(metric: EditCost, response: str, edit: str) -> float:
    """The definition, for one pair and with nothing shared between pairs."""
    before, after = list(metric.split_units(response)), list(metric.split_units(edit))
    lengths = {"response": len(before), "edit": len(after), "longest": max(len(before), len(after)), "none": 1}
    cost = max(Levenshtein.distance(before, after), int(response != edit)) / max(1, lengths[metric.normalize])
    return cost if metric.cap is None else min(cost, metric.cap)


@given(
    pairs=st.lists(st.tuples(TEXT, TEXT) | TEXT.map(lambda text: (text, text)) | st.tuples(st.text(), st.text())),
    normalize=st.sampled_from(NORMALIZATIONS),
    cap=st.none() | st.floats(0.01, 5),
)
def test_costs_are_those_of_the_definition_to_the_bit(
    distance: EditCost, pairs: list[tuple[str, str]], normalize: CostNormalization, cap: float | None
) -> None:
    metric = EditCost(unit=distance.unit, normalize=normalize, cap=cap, tokenizer=distance.tokenizer)
    assert metric.cost_batch(pairs) == [plain(metric, a, b) for a, b in pairs]
    assert [metric(a, b) for a, b in pairs] == metric.cost_batch(pairs)


@given(pairs=st.lists(st.tuples(st.text(st.characters(), max_size=8), st.text(st.characters(), max_size=8))))
def test_characters_of_half_a_pair_cost_what_others_do(pairs: list[tuple[str, str]]) -> None:
    metric = EditCost(unit="character", normalize="none")
    assert metric.cost_batch(pairs) == [plain(metric, a, b) for a, b in pairs]


def test_many_blocks_keep_their_order(distance: EditCost) -> None:
    pairs = [("a b c d", " ".join("abcd"[: number % 5])) for number in range(3 * COST_BATCH_SIZE + 7)]
    assert distance.cost_batch(pairs) == [distance(a, b) for a, b in pairs[:5]] * (len(pairs) // 5) + [
        distance(a, b) for a, b in pairs[: len(pairs) % 5]
    ]


def test_only_what_was_changed_is_cut_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cut: list[str] = []
    monkeypatch.setattr("copydesk.data.cost.split_words", lambda text: cut.append(text) or text.split())
    assert EditCost(unit="word").cost_batch([("a b", "a b"), ("a", "c"), ("a", "d"), ("c", "a")]) == [0, 1, 1, 1]
    assert sorted(cut) == ["a", "c", "d"]


def test_blocks_are_costed_at_the_same_time(monkeypatch: pytest.MonkeyPatch, tokenizer_folder: Path) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    both = threading.Barrier(2, timeout=20)  # breaks where one block waits for the other

    def together(texts: list[str], tokenizer: str) -> list[list[int]]:
        both.wait()
        return [[ord(letter) for letter in text] for text in texts]

    monkeypatch.setattr("copydesk.data.cost.tokenize_texts", together)
    assert (
        EditCost(tokenizer=str(tokenizer_folder)).cost_batch([("a", "b")] * 2 * COST_BATCH_SIZE)
        == [1] * 2 * COST_BATCH_SIZE
    )


def test_over_reads_no_more_than_a_few_blocks_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    read = 0

    def endless() -> Iterator[EditRecord]:
        nonlocal read
        while True:
            read += 1
            yield record("a b", "a c")

    costed = EditCost(unit="word").iter_costs(endless())
    assert [cost for _, cost in islice(costed, 10 * COST_BATCH_SIZE)] == [0.5] * 10 * COST_BATCH_SIZE
    assert read <= 13 * COST_BATCH_SIZE
    running = threading.active_count()
    costed.close()  # type: ignore[attr-defined]
    assert threading.active_count() < running


def test_over_says_what_is_wrong_with_a_text(tokenizer_folder: Path) -> None:
    records = [record("a b", "a c"), record("a", "\ud83d")]
    with pytest.raises(InputError, match=r"half of a surrogate pair"):
        list(EditCost(tokenizer=str(tokenizer_folder)).iter_costs(records))


@pytest.mark.parametrize("parallelism", [{}, {"TOKENIZERS_PARALLELISM": "false"}])
def test_costs_after_a_fork_and_where_the_tokenizer_may_start_no_threads(parallelism: dict[str, str]) -> None:
    program = """
import os
from copydesk.data import EditCost
pairs = [(f"Dear {n}", f"Hi {n}") for n in range(1000)]
costs = EditCost().cost_batch(pairs)
if (child := os.fork()) == 0:
    os._exit(0 if EditCost().cost_batch(pairs) == costs else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    environment = {name: value for name, value in os.environ.items() if name != "TOKENIZERS_PARALLELISM"} | parallelism
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=60)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_equal_names_mean_equal_metrics(tokenizer_folder: Path) -> None:
    assert EditCost(unit="word").name == "levenshtein/word/response"
    assert EditCost(unit="character", normalize="none", cap=2).name == "levenshtein/character/none/cap=2.0"
    folder, file = str(tokenizer_folder), str(tokenizer_folder / "tokenizer.json")
    names = [EditCost(tokenizer=name).name for name in (folder, file)]
    assert names[0].startswith(f"levenshtein/subtoken:{tokenizer_folder.name}@")
    assert names[0].split("@")[1] == names[1].split("@")[1]


def test_costs_that_differ_by_their_cap_have_names_that_differ() -> None:
    caps = [1.0, 1.0000001, 2.0]
    assert len({EditCost(unit="word", cap=cap).name for cap in caps}) == 3


@pytest.mark.parametrize(
    "wrong",
    [{"unit": "sentence"}, {"normalize": "length"}, {"cap": 0}, {"cap": -1.0}, {"cap": float("nan")}],
)
def test_wrong_settings(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"edit cost: {next(iter(wrong))} is"):
        EditCost(**wrong)
