import random
import time
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from copydesk.data.repetition import RepeatTrimmer, trim_repeats
from copydesk.errors import InputError

# Few letters, so that texts repeat; a flag and an accent of several code points, and half a surrogate pair.
TEXTS = st.text(st.sampled_from("ab \n🇫🇷é\u0301\ud83d"), max_size=60)
LENGTHS = st.integers(1, 12)


def trim_by_definition(text: str, length: int) -> str:
    for position in range(1, len(text) - length + 1):
        if any(text.startswith(text[position : position + length], earlier) for earlier in range(position)):
            return text[:position]
    return text


def feed_in_pieces(text: str, length: int, cuts: list[int]) -> tuple[list[str], RepeatTrimmer]:
    """What is shown after each piece, and the trimmer before its end."""
    trimmer = RepeatTrimmer(length)
    ends = [*sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [trimmer.feed(text[a:b]) for a, b in zip([0, *ends], ends, strict=False)], trimmer


def write_words(count: int) -> str:
    generator = random.Random(1)
    words = ["".join(generator.choices("abcdefghijklmnopqrstuvwxyz", k=generator.randint(2, 9))) for _ in range(2_000)]
    return " ".join(generator.choices(words, k=count))


@given(text=TEXTS, length=LENGTHS)
@example(text="aaaa", length=3)
def test_a_text_is_cut_at_the_first_position_whose_next_characters_occurred_earlier(text: str, length: int) -> None:
    assert trim_repeats(text, length) == trim_by_definition(text, length)


@given(text=TEXTS, length=LENGTHS, cuts=st.lists(st.integers(0, 60), max_size=60))
@example(text="abcabcabc", length=3, cuts=list(range(9)))
def test_a_stream_is_cut_as_the_whole_text_however_it_is_split(text: str, length: int, cuts: list[int]) -> None:
    shown, trimmer = feed_in_pieces(text, length, cuts)
    trimmed = trim_repeats(text, length)
    assert trimmer.repeating == (trimmed != text)
    assert "".join(shown) + trimmer.finish() == trimmed
    assert trimmer.finish() == ""


@given(text=TEXTS, length=LENGTHS, cuts=st.lists(st.integers(0, 60), max_size=60))
def test_whatever_follows_nothing_shown_is_taken_back(text: str, length: int, cuts: list[int]) -> None:
    shown, _ = feed_in_pieces(text, length, cuts)
    for following in (text, text[::-1], text[-length:], "aaaaaaaaaaaa"):
        assert trim_repeats(text + following, length).startswith("".join(shown))


@given(text=TEXTS, length=LENGTHS)
def test_a_trimmed_text_is_not_trimmed_further(text: str, length: int) -> None:
    trimmed = trim_repeats(text, length)
    assert trim_repeats(trimmed, length) == trimmed


def test_a_loop_is_cut_after_its_first_round_and_whitespace_stays() -> None:
    loop = "The parcel left the depot on Monday, and it will arrive on Friday at the latest.\n"
    assert trim_repeats("Hello! " + loop * 10) == "Hello! " + loop
    assert trim_repeats("a" * 201) == "a"
    assert trim_repeats("a" * 200) == "a" * 200


def test_a_repeat_of_fewer_characters_stays() -> None:
    sentence = write_words(60)[:199]
    text = f"{sentence}.{sentence}!{sentence}?"
    assert trim_repeats(text) == text
    assert trim_repeats(text, 199) == f"{sentence}."


def test_a_length_of_zero_trims_nothing() -> None:
    text = "a" * 1_000
    trimmer = RepeatTrimmer(0)
    assert trim_repeats(text, 0) == trimmer.feed(text) + trimmer.finish() == text
    assert not trimmer.repeating


def test_a_negative_length_is_refused() -> None:
    with pytest.raises(InputError, match="-1 must be at least 0"):
        trim_repeats("a", -1)
    with pytest.raises(InputError, match="-1 must be at least 0"):
        RepeatTrimmer(-1)


def test_a_stream_of_ordinary_text_holds_little_back() -> None:
    text = write_words(2_000)
    trimmer, shown, held = RepeatTrimmer(), 0, []
    for fed, character in enumerate(text, start=1):
        shown += len(trimmer.feed(character))
        held.append(fed - shown)
    assert sum(held) / len(held) < 16
    assert max(held) < 200


def test_what_is_fed_after_the_cut_is_dropped() -> None:
    trimmer = RepeatTrimmer(3)
    assert trimmer.feed("abcabc") == "abc"
    assert trimmer.repeating
    assert trimmer.feed("xyz") + trimmer.finish() == ""


def write_almost_repeating(count: int) -> str:
    """Lines that agree in 150 characters, so that a stream keeps finding and losing a possible repeat."""
    block = write_words(30)[:150]
    return "".join(f"{block}{number:06d}" for number in range(count // 156))


@pytest.mark.parametrize("text", [write_words(20_000), write_almost_repeating(100_000)], ids=["words", "almost"])
def test_a_hundred_thousand_characters_take_a_second(text: str) -> None:
    started = time.process_time()
    assert trim_repeats(text) == text
    trimmer = RepeatTrimmer()
    assert "".join([trimmer.feed(text[at : at + 4]) for at in range(0, len(text), 4)]) + trimmer.finish() == text
    assert time.process_time() - started < 10


def test_memory_grows_with_the_text_and_not_with_its_windows() -> None:
    text = write_words(3_000)
    tracemalloc.start()
    trimmer = RepeatTrimmer()
    for at in range(0, len(text), 4):
        trimmer.feed(text[at : at + 4])
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 1_000 * len(text)
