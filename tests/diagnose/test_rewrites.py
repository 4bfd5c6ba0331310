from copydesk.diagnose.change import change_of
from copydesk.diagnose.rewrites import Rewritings


def test_rewrites_are_counted_with_rows_users_and_an_example() -> None:
    rewritings = Rewritings()
    rewritings.add(1, change_of("so Dear Ann and Dear Bo too", "so Hi Ann and Hi Bo too"), "u")
    rewritings.add(2, change_of("Dear Cy", "Hi Cy"), "v")
    rewritings.add(3, change_of("thanks a lot", "thanks"), None)
    rewritings.add(4, change_of("yes a lot", "yes"), None)
    rewritings.add(5, change_of("see you", "see you soon"), None)
    found = rewritings.result()
    assert (found.changes, found.long, found.exact) == (6, 0, True)
    first, second = found.commonest  # what was done once is not common
    assert (first.before, first.after, first.count, first.rows, first.users) == ("Dear", "Hi", 3, 2, 2)
    assert (first.row, first.example) == (1, ("so Dear Ann and Dear", "so Hi Ann and Hi"))
    assert (second.before, second.after, second.count, second.users) == ("a lot", "", 2, 0)


def test_insertions_are_rewrites_too() -> None:
    rewritings = Rewritings()
    for row in (1, 2):
        rewritings.add(row, change_of("see you", "see you soon"), None)
    assert [(one.before, one.after) for one in rewritings.result().commonest] == [("", "soon")]


def test_what_is_written_anew_is_not_grouped() -> None:
    rewritings = Rewritings()
    for row in (1, 2):
        rewritings.add(row, change_of("a b c d e f g", "h i j k l m n"), None)
    found = rewritings.result()
    assert (found.changes, found.long, found.commonest) == (2, 2, ())


def test_memory_is_bounded_and_the_common_ones_survive() -> None:
    rewritings = Rewritings(kept=10)
    for row in range(1, 201):
        rewritings.add(row, change_of("Dear x", "Hi x"), None)
        rewritings.add(row, change_of(f"w{row} x", "y x"), None)
        assert len(rewritings._seen) <= 20
    found = rewritings.result()
    assert not found.exact
    assert (found.commonest[0].before, found.commonest[0].count) == ("Dear", 200)
