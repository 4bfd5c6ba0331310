"""The lab's page: what was measured beside what was proved.

The sections of the lab's page.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import groupby
from math import inf
from pathlib import Path

from copydesk.report.html import (
    render_figure,
    render_html_page,
    render_legend,
    render_method_name,
    render_row,
    render_table,
)
from copydesk.report.style import MethodStyle, get_method_label, method_styles
from copydesk.report.templating import capitalize_first
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
from copydesk.theory.lab import CONTEXTS, OTHER_TASTES, SPACE, FixedPoint
from copydesk.theory.learners import BOUND_DELTA, EARLY_LAMBDA, LEARNERS
from copydesk.theory.study import Study
from copydesk.theory.text import (
    COMPARED_LEARNERS,
    FAILS,
    compute_map_regrets,
    describe_bound_violations,
    describe_claim_verdicts,
    describe_fixed_points,
    describe_winners,
    find_halving_size,
    format_divergence,
    format_headline,
    format_nats,
    format_ratio,
    format_setting,
    is_ratio_defined,
    judge_claim,
)
from copydesk.utils.atomic import atomic_write

Styles = Mapping[str, MethodStyle]


def render_curves_section(curves: Sequence[Curves], shown: Styles) -> str:
    """SubOpt over the edits in the log, beside the bounds: a row of plots for each strength of the user."""
    words = (
        "SubOpt of what was learned, as a share of SubOpt(π_ref): at 1 it is no better than the reference policy. "
        "Lines are means over logs, bands reach from the 10th to the 90th percentile. Dashed is the bound of the "
        f"method of that colour, which may fail on a share δ = {BOUND_DELTA:g} of logs; the early ensemble has none."
    )
    if any((one.bounds[name] > plots.CEILING * one.reference).any() for one in curves for name in one.bounds):
        words += f" Bounds above {plots.CEILING:,.0f} lie outside the plots."
    rows = []
    for strength, found in groupby(curves, lambda one: one.setting.strength):
        figures = [
            render_figure(
                format_setting(one.setting), "", "", plots.plot_subopt_over_edits(one, one.measured, one.bounds)
            )
            for one in found
        ]
        edits = f"{strength} local edit{'' if strength == 1 else 's'}"
        rows.append(
            f'<h3 class="block">Users who try {edits}</h3>{_render_plot_row(figures)}{render_legend(LEARNERS, shown)}'
        )
    return _render_section(
        "How many edits it takes", f"{_render_notes(words, describe_bound_violations(curves))}{''.join(rows)}"
    )


def render_tables_section(curves: Sequence[Curves], shown: Styles) -> str:
    """The same without a class of policies, at the middling coverage of each strength."""
    groups = [list(found) for _, found in groupby(curves, lambda one: one.setting.strength)]
    picked = [found[len(found) // 2] for found in groups]
    pairs = [
        (find_halving_size(one, one.measured[name]), find_halving_size(one, one.tables[name]))
        for one in picked
        for name in LEARNERS
    ]
    later = sum(table > known for known, table in pairs)
    words = (
        "Softmax tables, one free logit for each response to each context, know nothing but the log. "
        f"In {later} of {len(pairs)} pairs of a method and a setting they take more edits to halve SubOpt(π_ref) than "
        "with a class of policies to choose from."
    )
    figures = [
        render_figure(
            format_setting(one.setting), _describe_halving(one), "", plots.plot_subopt_over_edits(one, one.tables, {})
        )
        for one in picked
    ]
    return _render_section(
        "Without a class", f"{_render_notes(words)}{_render_plot_row(figures)}{render_legend(LEARNERS, shown)}"
    )


def _describe_halving(curves: Curves) -> str:
    longest = f"over {curves.log_sizes[-1]:,}"

    def text(edits: float) -> str:
        return f"{edits:,.0f}" if edits < inf else longest

    each = (
        f"{get_method_label(name)} {text(find_halving_size(curves, curves.tables[name]))} "
        f"({text(find_halving_size(curves, curves.measured[name]))})"
        for name in LEARNERS
    )
    return f"Edits to halve SubOpt(π_ref), in brackets with a class: {', '.join(each)}."


def render_maps_section(grids: Sequence[Grid], shown: Styles) -> str:
    """Who wins where, and what the ensembles lose to the winner."""
    words = (
        "Down the users get stronger, to the right coverage gets poorer. Figures are nats (SubOpt/β); 0 is best. On "
        "the maps of the ensembles they say how much more is lost than by the winner of the cell, and below 0 how much "
        f"less. The late ensemble plays {GRID_ROUNDS} rounds with α = {GRID_ALPHA:g}; trying its policies out is "
        f"counted."
    )
    blocks = []
    for grid in grids:
        largest = max(float((grid.compute_regret(name) / grid.beta).max()) for name in ("early", "late"))
        figures = [render_figure("The winner", "What it loses to π*.", "", plots.plot_winner_map(grid))]
        for name in ("early", "late"):
            mean, most = compute_map_regrets(grid)[name]
            note = f"Mean {format_nats(mean)}, largest {format_nats(most)}."
            title = f"Regret of the {get_method_label(name).lower()}"
            figures.append(render_figure(title, note, "", plots.plot_regret_map(grid, name, largest)))
        head = f'<h3 class="block">Logs of {grid.n:,} edits</h3>{_render_notes(describe_winners(grid))}'
        blocks.append(f"{head}{render_legend(SINGLE_FEEDBACK_LEARNERS, shown)}{_render_plot_row(figures)}")
    return _render_section(
        "Which method wins where", f"{_render_notes(words)}{''.join(blocks)}{_render_regrets_table(grids, shown)}"
    )


def _render_regrets_table(grids: Sequence[Grid], shown: Styles) -> str:
    found = [compute_map_regrets(grid) for grid in grids]
    least = [min(one[name][kind] for name in COMPARED_LEARNERS) for one in found for kind in (0, 1)]
    rows = []
    for name in COMPARED_LEARNERS:
        cells = [value for one in found for value in one[name]]
        rows.append(
            render_row(
                render_method_name(name, shown),
                [_render_cell(format_nats(cell), cell == low) for cell, low in zip(cells, least, strict=True)],
            )
        )
    head = ["Method", *(f"{kind}, {grid.n:,} edits" for grid in grids for kind in ("Mean", "Largest"))]
    caption = (
        "Regret to the best of SFT, DPO and RL in each cell, over the whole map, in nats. Whoever does not know which "
        "users and which coverage there will be pays this for settling on one method."
    )
    return render_table(caption, head, rows)


def render_slopes_section(study: Study) -> str:
    """The poster's two sentences, measured."""
    fits = sorted(study.slopes, key=lambda fit: fit.axis)
    drawn = [fit for fit in fits if plots.is_drawable(fit)]
    note = "Above 1 the poster's sentence holds; lines are 95% intervals."
    if any(fit.ratio.low <= 0 for fit in drawn):
        note += " A line that runs out to the left reaches 0 or less."
    if left_out := len(fits) - len(drawn):
        note += f" Left out: {left_out} of {len(fits)}, where the divisor may be 0 or the ratio is not above 0."
    plot = render_figure("How many times as much", note, "", plots.plot_slope_ratios(drawn)) if drawn else ""
    unsafe = (
        " Where the slope to divide by may be 0, the intervals of the two slopes are compared instead of the ratio's."
        if any(not is_ratio_defined(fit) for fit in fits)
        else ""
    )
    words = [describe_claim_verdicts(fits, axis) for axis in dict.fromkeys(fit.axis for fit in fits)]
    words += [_explain_slopes(study.curves)] if _weak_users_reverse_coverage(fits) else []
    said = "".join(f"<p>{escape(sentence)}</p>" for sentence in words)
    intro = (
        "How much SubOpt/β rises from the best to the worst coverage, and from edits that lead all the way to π* to "
        "edits that lead nowhere. The coverage ratio is DPO's slope over SFT's, the quality ratio SFT's over DPO's."
        + unsafe
    )
    beside = f'<div><h3>What the poster says</h3><div class="methods">{said}</div></div>'
    return _render_section(
        "What moves what",
        f'{_render_notes(intro)}<div class="plots block">{plot}{beside}</div>{_render_slopes_table(fits)}',
    )


def _weak_users_reverse_coverage(fits: Iterable[SlopeFit]) -> bool:
    """Whether SFT moves more with coverage in a fit that weak users are part of."""
    return any(
        fit.axis == "coverage" and not fit.subset.startswith("strong") and judge_claim(fit) == FAILS for fit in fits
    )


def _explain_slopes(curves: Iterable[Curves]) -> str:
    """What the weakest and the strongest users leave, in figures."""
    settings = sorted((one.setting for one in curves), key=lambda one: (one.strength, one.divergence))
    groups = [list(found) for _, found in groupby(settings, lambda one: one.strength)]
    figures = []
    for found in groups[:1] + groups[1:][-1:]:
        left = " and ".join(
            f"{one.coefficients.left:.2f} at {format_divergence(one.divergence)}" for one in found[:1] + found[1:][-1:]
        )
        figures.append(f"with m = {found[0].strength}, λᵐ is {found[0].mixing.left:.2f}, and χₘ is {left}")
    return (
        "Why SFT moves with coverage where users are weak: what their edits leave, χₘ, is up to a share λᵐ of "
        "χ(π_ref, π*), which grows as coverage gets poorer (theorem 2), and no log is long enough to make up for it. "
        f"{capitalize_first('; '.join(figures))}."
    )


def _render_slopes_table(fits: Iterable[SlopeFit]) -> str:
    rows = []
    for fit in fits:
        texts = [f"{fit.n:,}", *(format_nats(fit.slope[name].value) for name in ("sft", "dpo"))]
        texts.append(format_ratio(fit))
        cells = [f"<td>{text}</td>" for text in texts]
        rows.append(
            render_row(escape(f"{capitalize_first(fit.axis)}: {fit.subset}"), [*cells, f"<td>{judge_claim(fit)}</td>"])
        )
    caption = "Slopes in nats, and their ratio with its 95% interval. A dash: the slope to divide by may be 0."
    return render_table(caption, ["Along", "n", "Slope of SFT", "Slope of DPO", "Ratio", "Poster's sentence"], rows)


def render_regret_section(found: Sequence[LabRegret]) -> str:
    """The late ensemble's regret over the rounds."""
    if not found:
        return ""
    shares = [rows[:, -1].mean() / regret.bound[-1] for regret in found for rows in regret.measured.values()]
    words = (
        f"Regret so far, in units of cost, against the best of the four policies learned from {REGRET_LOG_SIZE} "
        f"edits; 0 stands "
        "at the bottom. Lines are means, bands reach from the 10th to the 90th percentile. Dashed is the bound of the "
        f"mean for α = √2. At the end the mean is between {min(shares):.1%} and {max(shares):.1%} of it."
    )
    figures = []
    for regret in found:
        each = ", ".join(f"{rows[:, -1].mean():.2f} (α = {name})" for name, rows in regret.measured.items())
        note = f"After {len(regret.bound):,} rounds {each}; the bound is {regret.bound[-1]:,.0f}."
        figures.append(render_figure(format_setting(regret.setting), note, "", plots.plot_lab_regret(regret)))
    known = plots.alpha_styles(found[0])
    return _render_section(
        "The late ensemble's regret", f"{_render_notes(words)}{_render_plot_row(figures)}{render_legend(known, known)}"
    )


def render_user_section(users: Sequence[Mapping[str, float]], anchors: Sequence[FixedPoint]) -> str:
    """How fast edits lead to π*, and what is known of costs that the user really causes."""
    figures = ("gap", "left", "contraction", "distance_left")
    rows = [render_row(f"m = {user['strength']}", [f"<td>{user[name]:.3f}</td>" for name in figures]) for user in users]
    caption = (
        "A user tries m local edits in turn, each of which leads towards π*; one edit leaves a share λ of the "
        "χ-distance at most, and 1 − λ is its spectral gap. Contraction is Dobrushin's coefficient of the "
        "m steps: how much they leave of the distance between any two distributions. The last column is at 3 nats."
    )
    head = ["User", "Spectral gap of a step", "λᵐ", "Contraction", "Share of D(π_ref, π*) left"]
    return _render_section("The user", f"{render_table(caption, head, rows)}{_render_fixed_points(anchors)}")


def _render_fixed_points(anchors: Sequence[FixedPoint]) -> str:
    if not anchors:
        return ""
    rows = []
    for (strength, apart), found in groupby(anchors, lambda one: (one.strength, one.apart)):
        own = list(found)
        head = f'<th scope="row" rowspan="{len(own)}">m = {strength}, {format_divergence(apart)}</th>'
        for one in own:
            residual = f"{one.residual:.0e}".replace("-", "−")
            texts = (one.start, residual, f"{one.iterations:,}", f"{one.distance:.3f}")
            rows.append(f"<tr>{head}{''.join(f'<td>{escape(text)}</td>' for text in texts)}</tr>")
            head = ""
    caption = (
        "A cost is put in, what the edits towards its π* cost comes out, until both are the same. The residual is "
        "their largest difference; D is from the π* found to that of the setting, a fixed point by construction."
    )
    head_texts = ["Setting", "Start", "Residual", "Iterations", "D"]
    return (
        f'<h3 class="block">Costs that the user really causes</h3>{_render_notes(describe_fixed_points(anchors))}'
        f"{render_table(caption, head_texts, rows)}"
    )


def _render_section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{body}</section>"


def _render_notes(*paragraphs: str) -> str:
    first, *others = (escape(words) for words in paragraphs)
    rest = "".join(f'<p class="soft" style="margin-top: 10px">{words}</p>' for words in others)
    return f'<p class="soft">{first}</p>{rest}'


def _render_cell(text: str, best: bool) -> str:
    return f'<td class="best">{text}</td>' if best else f"<td>{text}</td>"


def _render_plot_row(figures: Iterable[str]) -> str:
    """Plots that stand three in a row where there is room."""
    columns = "grid-template-columns: repeat(auto-fit, minmax(min(100%, 290px), 1fr)); gap: 28px 32px; align-items: end"
    return f'<div class="plots block" style="{columns}; margin-top: 18px">{"".join(figures)}</div>'


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
