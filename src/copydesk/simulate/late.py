"""A late ensemble for each person, which knows what the others have found."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from copydesk.ensemble import LateEnsemble
from copydesk.simulate.protocol import Round


def play_per_user_ensemble(
    ensemble: LateEnsemble, alone: Mapping[str, Mapping[str, Sequence[Round]]], method: str = "late"
) -> list[Round]:
    """The online phase of an ensemble with a scope for each person; in every round t each has a turn.

    An arm is a role, such as `own`: for each person another policy may play it.

    Args:
        ensemble: over the roles.
        alone: by person and role, the rounds in which the role's policy answered that person every time; `play_late`
            says why they are enough.
        method: what the rounds count for.
    """
    rounds = []
    for t in range(min(len(played) for arms in alone.values() for played in arms.values())):
        for person, arms in alone.items():
            pull = ensemble.choose(person)
            played = arms[pull.arm][t]
            ensemble.update(pull, played.cost)
            rounds.append(replace(played, method=method, propensity=pull.propensity))
    return rounds
