from copydesk.theory.problem import PreferenceSpace


def test_responses_are_all_ways_to_meet_or_miss_the_preferences() -> None:
    assert PreferenceSpace(2).responses == ("aa", "ab", "ba", "bb")
    assert len(PreferenceSpace(5).responses) == 32


def test_distance_is_the_share_of_differing_preferences() -> None:
    space = PreferenceSpace(4)
    at = space.responses.index
    assert space.distance[at("aaaa"), at("aaab")] == 1 / 4
    assert space.distance[at("abba"), at("baba")] == 2 / 4
    assert space.distance[at("aaaa"), at("bbbb")] == 1
    assert (space.distance == space.distance.T).all()


def test_a_subset_has_a_size_and_the_responses_that_differ_within_it() -> None:
    space = PreferenceSpace(3)
    at = space.responses.index
    assert space.subset_sizes.tolist() == [0, 1, 1, 2, 1, 2, 2, 3]
    for size, agreement in zip(space.subset_sizes, space.agreement, strict=True):
        assert (agreement.sum(axis=1) == 2**size).all()
        assert (agreement == agreement.T).all()
    only_last = space.agreement[1]
    assert {space.responses[k] for k in only_last[at("aba")].nonzero()[0]} == {"aba", "abb"}
