"""Likelihood displacement: preference training that wins its pairs by making the edits themselves less likely."""

from collections.abc import Sequence

DISPLACEMENT_FLOOR = -1.0
"""How far log π(y'|x) may lie below the reference, in nats, before it is called displaced: a third as likely."""

_EDIT_GAIN, _RESPONSE_GAIN, _MARGIN = "logp_gain/preferred", "logp_gain/response", "margin"


def displacement_warning(history: Sequence[dict[str, float]]) -> str | None:
    """Whether a run pushes down the very edits it should learn, in words.

    The loss of a pair falls just as well when y becomes much less likely and y' a little less. With y and y' nearly the
    same, most tokens are in both, and that is what happens. It is said when the edited rows' y' have become less
    likely than `DISPLACEMENT_FLOOR` allows while their margin is larger than at first.

    Args:
        history: what was logged so far, the oldest first, means by name; entries without the figures are passed over.

    Returns:
        One line with the figures and the remedies, or `None` when all is well or nothing is known.

    Source: Razin et al., *Unintentional Unalignment: Likelihood Displacement in Direct Preference Optimization*,
    https://arxiv.org/abs/2410.08847.
    """
    entries = [entry for entry in history if {_EDIT_GAIN, _RESPONSE_GAIN, _MARGIN} <= entry.keys()]
    if not entries:
        return None
    first, last = entries[0], entries[-1]
    if not (last[_EDIT_GAIN] < DISPLACEMENT_FLOOR and last[_MARGIN] > first[_MARGIN]):
        return None
    return (
        f"likelihood displacement: the edits became less likely while the margin rose from {first[_MARGIN]:.3g} to "
        f"{last[_MARGIN]:.3g}; log π(y'|x) is {-last[_EDIT_GAIN]:.1f} nats below the reference and log π(y|x) "
        f"{_format_gain(last[_RESPONSE_GAIN])}. DPO is known to fail like this on near-identical pairs (Razin et al., "
        "arXiv 2410.08847). Raise --lambda-sup with --method early, or use --preference dpop, or lower --lr."
    )


def _format_gain(gain: float) -> str:
    return f"{abs(gain):.1f} nats {'below' if gain < 0 else 'above'} it"
