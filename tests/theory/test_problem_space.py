import numpy as np

from copydesk.theory.problem import StringSpace


def test_responses_are_all_strings_by_length() -> None:
    assert StringSpace("ab", 2).responses == ("a", "b", "aa", "ab", "ba", "bb")
    assert len(StringSpace("ab", 4).responses) == 30


def test_distance_is_levenshtein_by_the_longest_length() -> None:
    space = StringSpace("ab", 4)
    at = space.responses.index
    assert space.distance[at("a"), at("b")] == 1 / 4
    assert space.distance[at("abba"), at("b")] == 3 / 4
    assert space.distance[at("aaaa"), at("bbbb")] == 1
    assert (space.distance == space.distance.T).all()


def test_local_edits_put_in_take_out_or_replace_one_letter() -> None:
    space = StringSpace("ab", 3)
    near = {space.responses[k] for k in np.flatnonzero(space.local_edits[space.responses.index("ab")])}
    assert near == {"a", "b", "aa", "bb", "aab", "bab", "abb", "aba"}


def test_the_proposal_is_symmetric_and_uniform_over_local_edits() -> None:
    space = StringSpace("ab", 3)
    proposal = space.proposal
    assert np.allclose(proposal.sum(axis=1), 1, atol=1e-15)
    assert (proposal == proposal.T).all()
    assert (proposal >= 0).all()
    moves = proposal[space.local_edits > 0]
    assert len(set(moves)) == 1
