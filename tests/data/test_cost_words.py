import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copydesk.data.cost import _TOKEN, split_words


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("", ""),
        (" \n\t", ""),
        ("It's Ann's; they'll say we can't.", "It 's Ann 's ; they 'll say we ca n't ."),
        ("I cannot, gonna... O'Brien", "I can not , gon na ... O'Brien"),
        ("(1,000 at 12:30, for $3.50!)", "( 1,000 at 12:30 , for $ 3.50 ! )"),
        ("One. Two.\nThree.", "One . Two . Three ."),
        ("She said “no” -- 'never'—", "She said “ no ” -- ' never ' —"),
        ("two  spaces", "two spaces"),
        ("cafe\u0301 naïve", "cafe\u0301 naïve"),
        ("好的。yes かな", "好 的 。 yes か な"),
        ("שלום עולם, مرحبا", "שלום עולם , مرحبا"),
        ("👍🏽 ok\u2028then", "👍🏽 ok then"),
    ],
)
def test_examples(text: str, cut: str) -> None:
    assert split_words(text) == cut.split()


@given(st.text() | st.text(alphabet="a.,:'\"`-()t s\n1\x85\x1c") | st.text(alphabet="nocat' .", min_size=30))
def test_a_text_is_cut_as_a_whole(text: str) -> None:
    assert split_words(text) == _TOKEN.findall(text)


@given(st.text() | st.text(alphabet="a.,:'\"`-()t s\n1"))
def test_words_hold_everything_but_white_space(text: str) -> None:
    cut = split_words(text)
    assert "".join(cut) == "".join(text.split())
    assert not any(char.isspace() for word in cut for char in word)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "step"), [("lamp", 2), ("expertqa", 4), ("defacto", 4), ("mlqe_pe", 5)])
def test_real_texts_are_cut_as_nltk_cuts_them(
    shared_data: Path, nltk_words: Callable[[str], list[str]], name: str, step: int
) -> None:
    with (shared_data / f"{name}.jsonl").open(encoding="utf-8", newline="\n") as file:
        rows = [json.loads(line) for line in list(file)[::step]]
    texts = [text for row in rows for text in (row["response"], row["edit"]) if not re.search("[\u4e00-\u9fff]", text)]
    assert len(texts) > 100
    for text in texts:
        assert split_words(text) == nltk_words(text)
