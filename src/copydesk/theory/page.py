"""The lab's page: what was measured beside what was proved."""

from html import escape
from pathlib import Path

from copydesk.report.page import render_html_page
from copydesk.report.style import get_method_label, method_styles
from copydesk.theory import plots
from copydesk.theory.lab import CONTEXTS, OTHER_TASTES, SPACE
from copydesk.theory.sections import (
    render_curves_section,
    render_maps_section,
    render_regret_section,
    render_slopes_section,
    render_tables_section,
    render_user_section,
)
from copydesk.theory.study import Study
from copydesk.theory.text import format_headline
from copydesk.theory.trials import BOUND_DELTA, EARLY_LAMBDA
from copydesk.utils.atomic import atomic_write

STUDY_FOOTER = (
    "SubOpt is J_β(π) − J_β(π*): what a policy loses to the best one, cost and price of leaving the reference policy "
    "together. 0 is best."
)


def write_study_page(path: Path, study: Study) -> None:
    """Write the page; the file appears whole or not at all.

    Raises:
        InputError: it cannot be written, or matplotlib is not installed.
    """
    page = render_study_html(study)
    with atomic_write(path) as file:
        file.write(page)


def render_study_html(study: Study) -> str:
    """The page `write_study_page` writes."""
    words = format_headline(study)
    shown = method_styles(["base", "sft", "dpo", "rl", "early", "late"])
    leader = next(name for name in shown if words.startswith(get_method_label(name)))
    own = {name: look for regret in study.regrets for name, look in plots.alpha_styles(regret).items()}
    users: list[dict[str, float]] = study.to_json()["users"]
    return render_html_page(
        title=f"Theory: {words}",
        eyebrow=f"Copydesk theory · {study.repeats} repetitions, seed {study.seed}",
        headline=words.replace(get_method_label(leader), f"<em>{escape(get_method_label(leader))}</em>", 1),
        lead=escape(_render_lead(study)),
        sections=[
            render_curves_section(study.curves, shown),
            render_tables_section(study.curves, shown),
            render_maps_section(study.grids, shown),
            render_slopes_section(study),
            render_regret_section(study.regrets),
            render_user_section(users, study.fixed_points),
        ],
        details=_render_details(study),
        footer=STUDY_FOOTER,
        shown=shown | own,
        accent=shown[leader],
    )


def _render_lead(study: Study) -> str:
    lengths = " or ".join(f"{grid.n:,}" for grid in study.grids)
    return (
        f"The lab is a world small enough to compute everything exactly: {len(SPACE.responses)} responses to each of "
        f"{len(CONTEXTS)} contexts, and people whose edits lead towards the best policy, the faster the stronger they "
        "are. A setting is how strong the user is, how well the reference policy covers what people want, and a log "
        f"of {lengths} edits; the winner loses the least of the methods that use one kind of feedback."
    )


def _render_details(study: Study) -> str:
    values = {
        "repetitions": f"{study.repeats} logs for each setting and length",
        "seed": str(study.seed),
        "responses": f"all strings over “{SPACE.alphabet}” of at most {SPACE.longest} letters",
        "cost": f"Levenshtein distance in letters, divided by {SPACE.longest}",
        "policies": f"{study.curves[0].setting.members.size}: the best one, milder and stronger ones, and steps "
        f"from it towards {OTHER_TASTES} other tastes",
        "δ": f"{BOUND_DELTA:g}",
        "λ of the early ensemble": f"{EARLY_LAMBDA:g}",
    }
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in values.items()
    )
    return f"<details><summary>The lab</summary><table><tbody>{rows}</tbody></table></details>"
