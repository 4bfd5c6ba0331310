"""The lab's page: what was measured beside what was proved."""

from html import escape
from pathlib import Path

from copydesk.log.files import atomic_write
from copydesk.report.methods import label_of, looks
from copydesk.report.page import html_page
from copydesk.theory import plots
from copydesk.theory.lab import CONTEXTS, OTHERS, SPACE
from copydesk.theory.sections import (
    curves_section,
    maps_section,
    regret_section,
    slopes_section,
    tables_section,
    user_section,
)
from copydesk.theory.study import Study
from copydesk.theory.text import headline
from copydesk.theory.trials import DELTA, SUPERVISION

FOOTER = (
    "SubOpt is J_β(π) − J_β(π*): what a policy loses to the best one, cost and price of leaving the reference policy "
    "together. 0 is best."
)


def write_page(path: Path, study: Study) -> None:
    """Write the page; the file appears whole or not at all.

    Raises:
        InputError: it cannot be written, or matplotlib is not installed.
    """
    page = render(study)
    with atomic_write(path) as file:
        file.write(page)


def render(study: Study) -> str:
    """The page `write_page` writes."""
    words = headline(study)
    shown = looks(["base", "sft", "dpo", "rl", "early", "late"])
    leader = next(name for name in shown if words.startswith(label_of(name)))
    own = {name: look for regret in study.regrets for name, look in plots.alphas(regret).items()}
    users: list[dict[str, float]] = study.to_json()["users"]
    return html_page(
        title=f"Theory: {words}",
        eyebrow=f"Copydesk theory · {study.repeats} repetitions, seed {study.seed}",
        headline=words.replace(label_of(leader), f"<em>{escape(label_of(leader))}</em>", 1),
        lead=escape(_lead(study)),
        sections=[
            curves_section(study.curves, shown),
            tables_section(study.curves, shown),
            maps_section(study.grids, shown),
            slopes_section(study),
            regret_section(study.regrets),
            user_section(users, study.fixed_points),
        ],
        details=_details(study),
        footer=FOOTER,
        shown=shown | own,
        accent=shown[leader],
    )


def _lead(study: Study) -> str:
    lengths = " or ".join(f"{grid.n:,}" for grid in study.grids)
    return (
        f"The lab is a world small enough to compute everything exactly: {len(SPACE.responses)} responses to each of "
        f"{len(CONTEXTS)} contexts, and people whose edits lead towards the best policy, the faster the stronger they "
        "are. A setting is how strong the user is, how well the reference policy covers what people want, and a log "
        f"of {lengths} edits; the winner loses the least of the methods that use one kind of feedback."
    )


def _details(study: Study) -> str:
    values = {
        "repetitions": f"{study.repeats} logs for each setting and length",
        "seed": str(study.seed),
        "responses": f"all strings over “{SPACE.alphabet}” of at most {SPACE.longest} letters",
        "cost": f"Levenshtein distance in letters, divided by {SPACE.longest}",
        "policies": f"{study.curves[0].setting.members.size}: the best one, milder and stronger ones, and steps "
        f"from it towards {OTHERS} other tastes",
        "δ": f"{DELTA:g}",
        "λ of the early ensemble": f"{SUPERVISION:g}",
    }
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in values.items()
    )
    return f"<details><summary>The lab</summary><table><tbody>{rows}</tbody></table></details>"
