"""Labels, order and styles of methods."""

from copydesk.report.style import (
    METHOD_STYLES,
    MethodStyle,
    exclude_oracle,
    get_method_label,
    is_late,
    method_styles,
    render_method_css,
    sort_methods,
)


def test_the_order_of_the_tables() -> None:
    order = ["base", "oracle", "icl-3", "icl-10", "cipher-1", "cipher-5", "sft", "dpo", "rl", "early", "late"]
    order += ["late-discounted-ucb", "late-thompson", "mine", "icl-x"]
    assert sort_methods([*reversed(order[:-2]), "late", "mine", "icl-x"]) == order


def test_late_ensembles_are_named_after_their_rule() -> None:
    assert [is_late(name) for name in ("late", "late-thompson", "latest", "early")] == [True, True, False, False]


def test_methods_have_labels() -> None:
    names = ("oracle", "icl-3", "cipher-5", "late-discounted-ucb", "late-mine", "mine")
    assert [get_method_label(name) for name in names] == [
        "Oracle", "ICL-3", "CIPHER-5", "Late, discounted UCB", "Late, mine", "mine",
    ]  # fmt: skip


def test_the_label_of_a_new_rule_comes_from_its_name() -> None:
    assert get_method_label("late-sliding-window-ucb") == "Late, sliding window UCB"


def test_css_sets_the_colour_of_each_method_for_light_and_for_dark_pages() -> None:
    css = render_method_css({"sft": MethodStyle("", "", "#111111", "#222222"), "a b": METHOD_STYLES["base"]})
    light, dark = css.splitlines()
    assert light == ":root { --method-sft: #111111; --method-a_20b: #868e99; }"
    assert dark == "@media (prefers-color-scheme: dark) { :root { --method-sft: #222222; --method-a_20b: #939ca8; } }"


def test_notes_of_prompted_methods_state_how_many_edits_they_retrieve() -> None:
    found = method_styles(["icl-3", "cipher-1"])
    assert "3 most similar past edits" in found["icl-3"].note
    assert "the most similar past edit," in found["cipher-1"].note


def test_methods_that_play_together_have_colours_of_their_own() -> None:
    names = [
        *METHOD_STYLES,
        "oracle",
        "icl-3",
        "cipher-1",
        "cipher-5",
        "late-discounted-ucb",
        "late-thompson",
        "x",
        "y",
    ]
    found = method_styles(names)
    assert list(found) == names
    for ground in ("light", "dark"):
        assert len({getattr(look, ground) for look in found.values()}) == len(names)


def test_the_oracle_is_excluded_unless_it_is_alone() -> None:
    assert exclude_oracle(["base", "oracle"]) == ["base"]
    assert exclude_oracle(["oracle"]) == ["oracle"]
