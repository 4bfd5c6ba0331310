"""An ensemble's settings in words."""

from copydesk.data.cost import EditCost
from copydesk.ensemble.config import EnsembleConfig

_UNIT_NAMES = {"subtoken": "tokens", "word": "words", "character": "characters"}
_NORMALIZATIONS = {
    "response": "divided by the length of the response",
    "edit": "divided by the length of the edit",
    "longest": "divided by the length of the longer text",
    "none": "not divided by any length",
}
_TIME_UNITS = {"day": 86400, "hour": 3600, "minute": 60, "second": 1}


def describe_ensemble_config(settings: EnsembleConfig, cost: EditCost) -> dict[str, str]:
    """What the ensemble follows, one sentence for each question one may have."""
    return {
        "How it chooses": _describe_rule(settings),
        "Whose edits decide": _describe_scope(settings),
        "How long it waits": _describe_expiry(settings.expiry),
        "What an edit costs": describe_edit_cost(cost) + ("." if cost.cap is None else f", at most {cost.cap:g}."),
    }


def describe_edit_cost(cost: EditCost) -> str:
    """What a cost counts: `Changed tokens, divided by the length of the response`."""
    return f"Changed {_UNIT_NAMES[cost.unit]}, {_NORMALIZATIONS[cost.normalize]}"


def _describe_rule(settings: EnsembleConfig) -> str:
    match settings.rule:
        case "ucb":
            return (
                "UCB: the policy that could be cheapest, going by the lower bound of its mean cost. It explores with "
                f"α = {settings.alpha:g}."
            )
        case "discounted-ucb":
            return (
                f"UCB that forgets: each pull lets earlier ones weigh {settings.discount:g} times as much, since "
                f"people change. It explores with α = {settings.alpha:g}."
            )
        case "thompson":
            return (
                "Thompson sampling: each policy as often as it is likely to be the cheapest. It explores with "
                f"α = {settings.alpha:g}."
            )
        case "fixed":
            total = sum(settings.shares.values())
            shares = ", ".join(f"{name} {share / total:.0%}" for name, share in settings.shares.items() if share)
            return f"Fixed shares: {shares}." if shares else "Fixed shares: every policy as often as the others."


def _describe_scope(settings: EnsembleConfig) -> str:
    if settings.scope == "global":
        return "Everyone's, together."
    whose = "Each user's own." if settings.scope == "user" else "Each group's own, and everyone's for who is in none."
    return f"{whose} For a policy they know little of, at most {settings.prior:g} edits of the others count too."


def _describe_expiry(seconds: float | None) -> str:
    if seconds is None:
        return "For ever: a draft that nobody edits stays pending."
    unit, length = next(((unit, length) for unit, length in _TIME_UNITS.items() if seconds >= length), ("second", 1))
    count = f"{seconds / length:.3g}"
    return f"A draft's edit is awaited for {count} {unit}{'' if count == '1' else 's'}; after that it no longer counts."
