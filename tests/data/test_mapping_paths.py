from typing import Any

import pytest

from copydesk.data.mapping import MISSING, drop_paths, get_path

ROW: dict[str, Any] = {
    "a": 1,
    "meta": {"user": "u", "deep": {"x": None}},
    "meta.user": "a key with a dot",
    "chat": [{"content": "first"}, {"content": "last"}],
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a", 1),
        ("meta.user", "a key with a dot"),
        ("meta.deep.x", None),
        ("chat[-1].content", "last"),
        ("chat[0]", {"content": "first"}),
        ("b", MISSING),
        ("a.b", MISSING),
        ("a[0]", MISSING),
        ("chat[2]", MISSING),
        ("chat.content", MISSING),
        ("meta[0]", MISSING),
        ("meta..user", MISSING),
        ("", MISSING),
        ("[0]", MISSING),
    ],
)
def test_lookup(path: str, value: Any) -> None:
    assert get_path(ROW, path) is value or get_path(ROW, path) == value


def test_a_text_is_not_cut_by_a_path() -> None:
    assert get_path({"a": ["text"]}, "a[0]") == "text"
    assert get_path({"a": "text"}, "a[0]") is MISSING


def test_what_was_taken_is_left_out_and_the_row_itself_stays() -> None:
    row = {"a": 1, "b": {"c": {"d": 2}, "e": 3}, "f": {"g": 4}, "h": [{"i": 5}]}
    before = repr(row)
    assert drop_paths(row, ["a", "b.c.d", "f.g", "h[0].i", "nowhere.x"]) == {"b": {"e": 3}, "h": [{"i": 5}]}
    assert repr(row) == before
