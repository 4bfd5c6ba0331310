"""Renders the lab's page: measured sub-optimality beside the bounds.

Each `_describe_*` function collects what one section of `templates/theory.html.j2` shows.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from math import inf
from pathlib import Path
from typing import Any

from markupsafe import Markup

from copydesk.report.style import get_method_label, method_styles
from copydesk.report.templating import (
    CellView,
    FigureView,
    RowView,
    TableView,
    capitalize_first,
    render_template,
)
from copydesk.theory import plots
from copydesk.theory.experiments import (
    GRID_ALPHA,
    GRID_ROUNDS,
    REGRET_LOG_SIZE,
    SINGLE_FEEDBACK_LEARNERS,
    Curves,
    Grid,
    LabRegret,
    SlopeFit,
)
from copydesk.theory.lab import CONTEXTS, OTHER_TASTES, SPACE, FixedPoint, LabSetting
from copydesk.theory.learners import BOUND_DELTA, EARLY_LAMBDA, LEARNERS
from copydesk.theory.study import USER_SETTINGS, Study
from copydesk.theory.text import (
    COMPARED_LEARNERS,
    FAILS,
    compute_map_regrets,
    describe_bound_violations,
    describe_claim_verdicts,
    describe_fixed_points,
    describe_gamma_bounds,
    describe_winners,
    find_halving_size,
    format_divergence,
    format_headline,
    format_nats,
    format_ratio,
    format_setting,
    format_user,
    is_ratio_defined,
    judge_claim,
)
from copydesk.utils.atomic import atomic_write


def write_study_page(path: Path, study: Study) -> None:
    """Write the page; the file appears whole or not at all.

    Raises:
        InputError: it cannot be written, or matplotlib is not installed.
    """
    page = render_study_html(study)
    with atomic_write(path) as file:
        file.write(page)


def render_study_html(study: Study) -> str:
    """Render the page that `write_study_page` writes."""
    headline = format_headline(study)
    shown = method_styles(["base", "sft", "dpo", "rl", "early", "late"])
    leader = next(name for name in shown if headline.startswith(get_method_label(name)))
    alphas = {name: look for regret in study.regrets for name, look in plots.alpha_styles(regret).items()}
    return render_template(
        "theory.html.j2",
        package="copydesk.theory",
        title=f"Theory: {headline}",
        eyebrow=f"Copydesk theory · {study.repeats} repetitions, seed {study.seed}",
        headline=headline,
        leader=get_method_label(leader),
        learners=LEARNERS,
        lab=_describe_lab(study),
        curves=_describe_curves(study.curves),
        tables=_describe_tables(study.curves),
        maps=_describe_maps(study.grids),
        slopes=_describe_slopes(study),
        regret=_describe_regret(study.regrets),
        users=_describe_users(study),
        shown=shown | alphas,
        accent=shown[leader],
    )


def _describe_curves(curves: Sequence[Curves]) -> dict[str, Any]:
    """SubOpt over the edits in the log, beside the bounds: a row of plots for each user."""
    groups = [
        {
            "user": _describe_user(found[0].setting),
            "plots": [
                FigureView(
                    format_setting(one.setting), "", Markup(plots.plot_subopt_over_edits(one, one.measured, one.bounds))
                )
                for one in found
            ],
        }
        for found in _group_by_user(curves)
    ]
    return {
        "violations": f"{describe_bound_violations(curves)} {describe_gamma_bounds(curves)}",
        "bounds_outside": any(
            (one.bounds[name] > plots.CEILING * one.reference).any() for one in curves for name in one.bounds
        ),
        "ceiling": f"{plots.CEILING:,.0f}",
        "groups": groups,
    }


def _group_by_user(curves: Sequence[Curves]) -> list[list[Curves]]:
    return [list(found) for _, found in groupby(curves, lambda one: format_user(one.setting))]


def _describe_user(setting: LabSetting) -> str:
    gamma_min = f"γ_min = {setting.quality.gamma_min:.3f}"
    if setting.exact:
        return f"A user who attends to {format_user(setting)} preferences in each edit: {gamma_min}"
    return f"A user who attends to each preference with probability {format_user(setting)}: {gamma_min}"


def _describe_tables(curves: Sequence[Curves]) -> dict[str, Any]:
    """SubOpt of tables, without a policy class, at the middle coverage of each user with a probability."""
    groups = _group_by_user([one for one in curves if not one.setting.exact])
    picked = [found[len(found) // 2] for found in groups]
    pairs = [
        (find_halving_size(one, one.measured[name]), find_halving_size(one, one.tables[name]))
        for one in picked
        for name in LEARNERS
    ]
    return {
        "later": sum(table > known for known, table in pairs),
        "pairs": len(pairs),
        "plots": [
            FigureView(
                format_setting(one.setting),
                _describe_halving(one),
                Markup(plots.plot_subopt_over_edits(one, one.tables, {})),
            )
            for one in picked
        ],
    }


def _describe_halving(curves: Curves) -> str:
    longest = f"over {curves.log_sizes[-1]:,}"

    def text(edits: float) -> str:
        return f"{edits:,.0f}" if edits < inf else longest

    each = (
        f"{get_method_label(name)} {text(find_halving_size(curves, curves.tables[name]))} "
        f"({text(find_halving_size(curves, curves.measured[name]))})"
        for name in LEARNERS
    )
    return f"Edits needed to halve SubOpt(π_ref), with a class in brackets: {', '.join(each)}."


def _describe_maps(grids: Sequence[Grid]) -> dict[str, Any]:
    """Which method wins where, and the regret of the ensembles to the winner."""
    return {
        "rounds": GRID_ROUNDS,
        "alpha": f"{GRID_ALPHA:g}",
        "winners": SINGLE_FEEDBACK_LEARNERS,
        "grids": [
            {"edits": f"{grid.n:,}", "winners": describe_winners(grid), "plots": _plot_maps(grid)} for grid in grids
        ],
        "regrets": _build_map_regrets_table(grids),
    }


def _plot_maps(grid: Grid) -> list[FigureView]:
    largest = max(float((grid.compute_regret(name) / grid.beta).max()) for name in ("early", "late"))
    figures = [FigureView("The winner", "Its SubOpt/β.", Markup(plots.plot_winner_map(grid)))]
    for name in ("early", "late"):
        mean, most = compute_map_regrets(grid)[name]
        note = f"Mean {format_nats(mean)}, largest {format_nats(most)}."
        title = f"Regret of the {get_method_label(name).lower()}"
        figures.append(FigureView(title, note, Markup(plots.plot_regret_map(grid, name, largest))))
    return figures


def _build_map_regrets_table(grids: Sequence[Grid]) -> TableView:
    found = [compute_map_regrets(grid) for grid in grids]
    least = [min(one[name][kind] for name in COMPARED_LEARNERS) for one in found for kind in (0, 1)]
    rows = []
    for name in COMPARED_LEARNERS:
        values = [value for one in found for value in one[name]]
        cells = [CellView(format_nats(value), best=value == low) for value, low in zip(values, least, strict=True)]
        rows.append(RowView(CellView(method=name), cells))
    caption = (
        "Regret to the best of SFT, DPO and RL in each cell, over the whole map, in nats: the price of choosing one "
        "method without knowing the users and the coverage."
    )
    head = ["Method", *(f"{kind}, {grid.n:,} edits" for grid in grids for kind in ("Mean", "Largest"))]
    return TableView(caption, head, rows)


def _describe_slopes(study: Study) -> dict[str, Any]:
    """The poster's two claims, measured."""
    fits = sorted(study.slopes, key=lambda fit: fit.axis)
    drawn = [fit for fit in fits if plots.is_drawable(fit)]
    note = "Above 1 the poster's claim holds; lines are 95% intervals."
    if any(fit.ratio.low <= 0 for fit in drawn):
        note += " A line that extends beyond the left edge reaches 0 or less."
    if left_out := len(fits) - len(drawn):
        note += f" Left out: {left_out} of {len(fits)}, where the divisor may be 0 or the ratio is not above 0."
    verdicts = [describe_claim_verdicts(fits, axis) for axis in dict.fromkeys(fit.axis for fit in fits)]
    if _weak_users_reverse_coverage(fits):
        verdicts.append(_explain_slopes(study.curves))
    return {
        "undefined_ratio": any(not is_ratio_defined(fit) for fit in fits),
        "plots": [FigureView("Ratio of the slopes", note, Markup(plots.plot_slope_ratios(drawn)))] if drawn else [],
        "verdicts": verdicts,
        "table": _build_slope_fits_table(fits),
    }


def _weak_users_reverse_coverage(fits: Iterable[SlopeFit]) -> bool:
    """Whether coverage affects SFT more than DPO in a fit that includes weak users."""
    return any(
        fit.axis == "coverage" and not fit.subset.startswith("strong") and judge_claim(fit) == FAILS for fit in fits
    )


def _explain_slopes(curves: Iterable[Curves]) -> str:
    """Why coverage affects SFT, with χ_q, λ and γ_min of the weakest and the strongest users."""
    chosen = [one.setting for one in curves if not one.setting.exact]
    settings = sorted(chosen, key=lambda one: (one.attention, one.divergence))
    groups = [list(found) for _, found in groupby(settings, lambda one: one.attention)]
    figures = []
    for found in groups[:1] + groups[1:][-1:]:
        left = " and ".join(
            f"{one.coefficients.left:,.2f} at {format_divergence(one.divergence)}" for one in found[:1] + found[1:][-1:]
        )
        quality = found[0].quality
        figures.append(
            f"with {format_user(found[0])}, γ_min is {quality.gamma_min:.3f}, λ is {quality.eigenvalue:.2f}, and χ_q "
            f"is {left}"
        )
    return (
        "Why coverage affects SFT where users are weak: the distance χ_q that remains after their edits is up to a "
        "share λ ≤ 1 − γ_min of χ(π_ref, π*), which grows as coverage gets poorer (theorem 2) and does not fall with "
        "more edits. "
        f"{capitalize_first('; '.join(figures))}."
    )


def _build_slope_fits_table(fits: Iterable[SlopeFit]) -> TableView:
    rows = [
        RowView(
            f"{capitalize_first(fit.axis)}: {fit.subset}",
            [
                f"{fit.n:,}",
                *(format_nats(fit.slope[name].value) for name in ("sft", "dpo")),
                format_ratio(fit),
                judge_claim(fit),
            ],
        )
        for fit in fits
    ]
    caption = "Slopes in nats, and their ratio with its 95% interval. A dash means that the divisor may be 0."
    return TableView(caption, ["Axis", "n", "Slope of SFT", "Slope of DPO", "Ratio", "Poster's claim"], rows)


def _describe_regret(regrets: Sequence[LabRegret]) -> dict[str, Any] | None:
    """The late ensemble's regret over the rounds."""
    if not regrets:
        return None
    shares = [rows[:, -1].mean() / regret.bound[-1] for regret in regrets for rows in regret.measured.values()]
    figures = []
    for regret in regrets:
        each = ", ".join(f"{rows[:, -1].mean():.2f} (α = {name})" for name, rows in regret.measured.items())
        note = f"After {len(regret.bound):,} rounds: {each}; the bound is {regret.bound[-1]:,.0f}."
        figures.append(FigureView(format_setting(regret.setting), note, Markup(plots.plot_lab_regret(regret))))
    return {
        "log_size": REGRET_LOG_SIZE,
        "least": f"{min(shares):.1%}",
        "most": f"{max(shares):.1%}",
        "plots": figures,
        "alphas": list(plots.alpha_styles(regrets[0])),
    }


def _describe_users(study: Study) -> dict[str, Any]:
    """How fast edits lead to π*, and the fixed points of the cost equation."""
    rows = []
    for setting in USER_SETTINGS:
        quality = setting.quality
        figures = (
            quality.gamma_min,
            1 - quality.gamma_min,
            quality.contraction,
            quality.eigenvalue,
            setting.distance_left,
            quality.worsening,
        )
        rows.append(RowView(format_user(setting), [f"{figure:.3f}" for figure in figures]))
    caption = (
        "A user attends to each preference with probability p in an edit, or to an exact number of them, redraws "
        "those from π* and leaves the others exactly as they are. γ_min is the smallest probability that an edit is "
        "the likeliest response under π*. An edit leaves at most the share 1 − γ_min of the total variation to π* (the "
        "paper's lemma 1); the exact share in the worst case is the contraction, Dobrushin's coefficient, and in "
        "χ-distance λ. The share of D(π_ref, π*) left is at 3 nats. The last column is the largest probability that an "
        "edit makes a response less likely under π*: detailed balance does not allow 0."
    )
    head = ["User", "γ_min", "1 − γ_min", "Contraction", "λ", "Share of D(π_ref, π*) left", "Made worse"]
    return {
        "table": TableView(caption, head, rows),
        "summary": describe_fixed_points(study.fixed_points),
        "fixed_points": _build_fixed_points_table(study.fixed_points) if study.fixed_points else None,
    }


def _build_fixed_points_table(points: Sequence[FixedPoint]) -> TableView:
    rows = []
    for (attention, divergence), found in groupby(points, lambda one: (one.attention, one.divergence)):
        group = list(found)
        for k, one in enumerate(group):
            residual = f"{one.residual:.0e}".replace("-", "−")
            cells = [one.start, residual, f"{one.iterations:,}", f"{one.distance:.3f}"]
            head = f"p = {attention:g}, {format_divergence(divergence)}" if k == 0 else None
            rows.append(RowView(head, cells, span=len(group)))
    caption = (
        "Costs determine π*, π* the edits, and the edits the costs; the iteration repeats this until they agree. The "
        "residual is the largest remaining difference. D is the distance from the π* found to that of the setting, "
        "which is a fixed point by construction."
    )
    return TableView(caption, ["Setting", "Start", "Residual", "Iterations", "D"], rows)


def _describe_lab(study: Study) -> dict[str, Any]:
    members = study.curves[0].setting.members.size
    details = {
        "repetitions": f"{study.repeats} logs for each setting and length",
        "seed": str(study.seed),
        "responses": f"all ways to meet or miss {SPACE.count} preferences",
        "cost": "share of the preferences in which response and edit differ",
        "policies": f"{members}: the optimal one, weaker and stronger forms of it, that of the edits, and mixtures "
        f"with {OTHER_TASTES} other preferences",
        "δ": f"{BOUND_DELTA:g}",
        "λ of the early ensemble": f"{EARLY_LAMBDA:g}",
    }
    return {
        "responses": len(SPACE.responses),
        "contexts": len(CONTEXTS),
        "preferences": SPACE.count,
        "lengths": " or ".join(f"{grid.n:,}" for grid in study.grids),
        "delta": f"{BOUND_DELTA:g}",
        "details": list(details.items()),
    }
