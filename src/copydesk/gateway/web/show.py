"""How values are written for people."""

from collections.abc import Mapping
from datetime import UTC, datetime

from markupsafe import Markup

from copydesk.report.style import MethodStyle

_UNKNOWN_STYLE = MethodStyle("", "", "#868e99", "#939ca8")


def format_moment(at: datetime) -> str:
    """A point in time: `3 Nov 2026, 14:05 UTC`."""
    at = at.astimezone(UTC)
    return f"{at.day} {at:%b %Y, %H:%M} UTC"


def format_iso(at: datetime) -> str:
    """The same for machines."""
    return at.astimezone(UTC).isoformat(timespec="seconds")


def format_optional_cost(value: float | None) -> str:
    """An edit cost, or a dash where there is none."""
    return "–" if value is None else f"{value:.2f}"


def format_excerpt(text: str, most: int = 140) -> str:
    """The start of a text in one line."""
    line = " ".join(text[: 4 * most].split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def render_prose(text: str) -> Markup:
    """A docstring's text, with `code` set as code; all of it escaped."""
    parts = (Markup("<code>{}</code>" if i % 2 else "{}").format(part) for i, part in enumerate(text.split("`")))
    return Markup("").join(parts)


def get_policy_colour_class(policy: str | None, looks: Mapping[str, MethodStyle]) -> str:
    """The class that carries a policy's colour."""
    return get_colour_class(looks.get(policy or "", _UNKNOWN_STYLE))


def get_colour_class(look: MethodStyle) -> str:
    """The class that carries a look's colour; `page.css` has one for every look there is."""
    return "c-" + look.light.removeprefix("#")
