"""Word-level differences."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from copydesk.report.diff import compute_diff, render_diff_plain, render_diff_rich

words = st.lists(st.sampled_from(["Hi", "dear", "Mia", ",", " ", "\n", "can't", "-", "é", "<b>"]), max_size=20)
texts = st.one_of(words.map("".join), st.text(max_size=40))


@given(texts, texts)
def test_both_texts_can_be_rebuilt(response: str, edit: str) -> None:
    segments = compute_diff(response, edit)
    assert "".join(text for tag, text in segments if tag != "insert") == response
    assert "".join(text for tag, text in segments if tag != "delete") == edit
    assert all(text for _, text in segments)


@given(texts, texts)
def test_neighbours_differ_and_deletions_come_first(response: str, edit: str) -> None:
    tags = [tag for tag, _ in compute_diff(response, edit)]
    assert all(one != other for one, other in pairwise(tags))
    assert ("insert", "delete") not in set(pairwise(tags))


@given(texts)
def test_an_accepted_response_has_no_changes(text: str) -> None:
    assert compute_diff(text, text) == ([("equal", text)] if text else [])


def test_words_are_never_split() -> None:
    assert compute_diff("See you Monday.", "See you Sunday.") == [
        ("equal", "See you "),
        ("delete", "Monday"),
        ("insert", "Sunday"),
        ("equal", "."),
    ]


def test_a_rewritten_phrase_is_one_segment() -> None:
    assert compute_diff("Dear Sir Jones, hello", "Hi my friend, hello") == [
        ("delete", "Dear Sir Jones"),
        ("insert", "Hi my friend"),
        ("equal", ", hello"),
    ]


def test_plain_text_marks_changes_with_brackets() -> None:
    assert render_diff_plain("one two", "one three") == "one [-two-]{+three+}"


def test_terminals_mark_changes_with_colour() -> None:
    text = render_diff_rich("one two [bold]", "one three [bold]")
    assert text.plain == "one twothree [bold]"  # text from a log is never read as markup
    console = Console(force_terminal=True, color_system="standard", width=80)
    with console.capture() as capture:
        console.print(text)
    assert "\x1b[9;31mtwo" in capture.get()
    assert "\x1b[4;32mthree" in capture.get()
