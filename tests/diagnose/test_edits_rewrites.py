from copydesk.diagnose.edits import RewriteAccumulator, align_edit


def test_rewrites_are_counted_with_rows_users_and_an_example() -> None:
    rewritings = RewriteAccumulator()
    rewritings.add(1, align_edit("so Dear Ann and Dear Bo too", "so Hi Ann and Hi Bo too"), "u")
    rewritings.add(2, align_edit("Dear Cy", "Hi Cy"), "v")
    rewritings.add(3, align_edit("thanks a lot", "thanks"), None)
    rewritings.add(4, align_edit("yes a lot", "yes"), None)
    rewritings.add(5, align_edit("see you", "see you soon"), None)
    found = rewritings.result()
    assert (found.changes, found.long, found.exact) == (6, 0, True)
    first, second = found.commonest  # what was done once is not common
    assert (first.before, first.after, first.count, first.rows, first.users) == ("Dear", "Hi", 3, 2, 2)
    assert (first.row, first.example) == (1, ("so Dear Ann and Dear", "so Hi Ann and Hi"))
    assert (second.before, second.after, second.count, second.users) == ("a lot", "", 2, 0)


def test_insertions_are_rewrites_too() -> None:
    rewritings = RewriteAccumulator()
    for row in (1, 2):
        rewritings.add(row, align_edit("see you", "see you soon"), None)
    assert [(one.before, one.after) for one in rewritings.result().commonest] == [("", "soon")]


def test_long_rewrites_are_not_grouped() -> None:
    rewritings = RewriteAccumulator()
    for row in (1, 2):
        rewritings.add(row, align_edit("a b c d e f g", "h i j k l m n"), None)
    found = rewritings.result()
    assert (found.changes, found.long, found.commonest) == (2, 2, ())


def test_memory_is_bounded_and_the_common_ones_survive() -> None:
    rewritings = RewriteAccumulator(kept=10)
    for row in range(1, 201):
        rewritings.add(row, align_edit("Dear x", "Hi x"), None)
        rewritings.add(row, align_edit(f"w{row} x", "y x"), None)
        assert len(rewritings._seen) <= 20
    found = rewritings.result()
    assert not found.exact
    assert (found.commonest[0].before, found.commonest[0].count) == ("Dear", 200)
