"""Render pages from templates: filters for values, colours of policies, the ensemble's settings in words."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from copydesk.data.cost import EditCost
from copydesk.ensemble.config import EnsembleConfig
from copydesk.gateway.auth import Caller
from copydesk.report.style import MethodStyle, get_css_variable, list_colours, render_method_css

_HUGE = 1e6  # a number from here on is written with an exponent
_UNKNOWN_STYLE = MethodStyle("", "", "#868e99", "#939ca8")


def format_moment(at: datetime) -> str:
    """A point in time: `3 Nov 2026, 14:05 UTC`."""
    at = _to_utc(at)
    return f"{at.day} {at:%b %Y, %H:%M} UTC"


def format_iso(at: datetime) -> str:
    """A point in time in ISO 8601."""
    return _to_utc(at).isoformat(timespec="seconds")


def _to_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError:  # within a day of the first or the last moment that a datetime can hold
        return at.replace(tzinfo=UTC)


def format_optional_cost(value: float | None) -> str:
    """An edit cost, or a dash if there is none; a huge one with an exponent."""
    if value is None:
        return "–"
    return f"{value:.2f}" if abs(value) < _HUGE else f"{value:.3g}"


def format_excerpt(text: str, most: int = 140) -> str:
    """The start of a text in one line."""
    line = " ".join(text[: 4 * most].split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def get_policy_colour_class(policy: str | None, styles: Mapping[str, MethodStyle]) -> str:
    """The CSS class that sets a policy's colour."""
    return get_colour_class(styles.get(policy or "", _UNKNOWN_STYLE))


def get_colour_class(style: MethodStyle) -> str:
    """The CSS class that sets a style's colour; see `render_colour_sheet`."""
    return "c-" + style.light.removeprefix("#")


@cache
def render_colour_sheet() -> str:
    """A style sheet with a variable and a class for every colour of a policy, on light and on dark ground."""
    shown = {light.removeprefix("#"): MethodStyle("", "", light, dark) for light, dark in list_colours()}
    classes = "".join(f".c-{name} {{ color: var({get_css_variable(name)}); }}\n" for name in shown)
    return f"{render_method_css(shown)}\n{classes}"


_TEMPLATES = Environment(
    loader=PackageLoader("copydesk.gateway.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters.update(
    moment=format_moment,
    iso=format_iso,
    cost=format_optional_cost,
    excerpt=format_excerpt,
    colour=get_policy_colour_class,
)


def render_page(
    request: Request, template: str, *, caller: Caller | None = None, status: int = 200, **values: Any
) -> HTMLResponse:
    """Render a template as a response.

    Args:
        request: the request.
        template: the template's file name.
        caller: the caller, if known.
        status: the HTTP status.
        values: the variables of the template.
    """
    html = _TEMPLATES.get_template(template).render(path=request.url.path, caller=caller, **values)
    return HTMLResponse(html, status, {"cache-control": "no-store"})


_UNIT_NAMES = {"subtoken": "tokens", "word": "words", "character": "characters"}
_NORMALIZATIONS = {
    "response": "divided by the length of the response",
    "edit": "divided by the length of the edit",
    "longest": "divided by the length of the longer text",
    "none": "not divided by any length",
}
_TIME_UNITS = {"day": 86400, "hour": 3600, "minute": 60, "second": 1}


def describe_ensemble_config(settings: EnsembleConfig, cost: EditCost) -> dict[str, str]:
    """The ensemble's settings: one sentence for each heading of the page."""
    return {
        "Rule": settings.make_rule().describe(),
        "Scope": _describe_scope(settings),
        "Wait for an edit": _describe_expiry(settings.expiry),
        "Limits": _describe_limits(settings),
        "Edit cost": describe_edit_cost(cost) + ("." if cost.cap is None else f", at most {cost.cap:g}."),
    }


def describe_edit_cost(cost: EditCost) -> str:
    """The edit cost in words: `Changed tokens, divided by the length of the response`."""
    return f"Changed {_UNIT_NAMES[cost.unit]}, {_NORMALIZATIONS[cost.normalize]}"


def _describe_scope(settings: EnsembleConfig) -> str:
    if settings.scope == "global":
        return "Those of all users together."
    whose = "Each user's own." if settings.scope == "user" else "Each group's own; for users in no group, everyone's."
    return f"{whose} For a policy with few of these, at most {settings.prior:g} edits of the others count too."


def _describe_expiry(seconds: float | None) -> str:
    if seconds is None:
        return "Without limit: a draft that nobody edits stays pending."
    return f"{_describe_duration(seconds)}; after that a draft is no longer pending."


def _describe_limits(settings: EnsembleConfig) -> str:
    limits = {"user": settings.user_limit, "API key": settings.key_limit}
    given = [f"{limit:,} of one {whose}" for whose, limit in limits.items() if limit]
    if not given:
        return "None: every pull and every edit counts."
    return f"Within {_describe_duration(settings.window)} at most {' and '.join(given)} count, pulls and edits apart."


def _describe_duration(seconds: float) -> str:
    unit, length = next(((unit, length) for unit, length in _TIME_UNITS.items() if seconds >= length), ("second", 1))
    count = f"{seconds / length:.3g}"
    return f"{count} {unit}{'' if count == '1' else 's'}"
