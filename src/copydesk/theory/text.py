"""Summaries of a study in sentences and figures, and the short version for a terminal."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from math import inf, isfinite

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from copydesk.report.style import get_method_label
from copydesk.theory.experiments import SINGLE_FEEDBACK_LEARNERS, Curves, Grid, LabRegret, SlopeEstimate, SlopeFit
from copydesk.theory.lab import SPACE, FixedPoint, LabSetting
from copydesk.theory.learners import BOUND_DELTA
from copydesk.theory.problem import Array
from copydesk.theory.study import Study

MAX_RESIDUAL = 1e-9
"""An iteration with at most this residual has converged."""
SAME_POLICY_DISTANCE = 0.01
"""Two policies within this total variation count as the same."""
COMPARED_LEARNERS = ("sft", "dpo", "rl", "early", "late")
POSTER_CLAIMS = {
    "coverage": "DPO suffers more from poor coverage than SFT",
    "quality": "SFT suffers more from poor edits than DPO",
}
"""The poster's claims, by axis."""
HOLDS, FAILS, OPEN = "holds", "does not hold", "open"


def render_study_terminal(study: Study) -> RenderableType:
    """Render winners, regrets, slopes and broken bounds for a terminal."""
    lines = [
        f"{describe_bound_violations(study.curves)} {describe_gamma_bounds(study.curves)}",
        *describe_regrets(study.regrets),
    ]
    parts: list[RenderableType] = [format_headline(study)]
    for grid in study.grids:
        title = f"\nWho wins with {grid.n:,} edits: p (weak to strong) by coverage (good to poor)"
        parts += [title, _build_winner_table(grid)]
    parts += [
        "\nRegret to the winner over the map, in nats, by the edits in the log",
        _build_regrets_table(study.grids),
    ]
    parts += [
        "\nEffect of coverage and edit quality: slopes in nats, and whether the poster's claim holds",
        _build_slopes_table(study.slopes),
        "",
    ]
    return Group(*(Text(part) if isinstance(part, str) else part for part in (*parts, *lines)))


def format_headline(study: Study) -> str:
    """A sentence with the number of settings that each method wins, the most frequent winner first."""
    counts = sorted(count_wins(study.grids).items(), key=lambda found: -found[1])
    (first, most), *others = counts
    total = sum(count for _, count in counts)
    rest = "".join(f", {get_method_label(name)} in {count}" for name, count in others)
    return f"{get_method_label(first)} wins in {most} of {total} settings{rest}."


def count_wins(grids: Iterable[Grid]) -> dict[str, int]:
    """The number of cells of the maps that each method with one kind of feedback wins."""
    winners = np.concatenate([grid.winner.ravel() for grid in grids])
    return {name: int((winners == k).sum()) for k, name in enumerate(SINGLE_FEEDBACK_LEARNERS)}


def find_significant_wins(grid: Grid) -> np.ndarray:
    """Where the winner's lead over each other method exceeds two standard errors, (S, A); leads are paired by log."""
    values = np.stack([grid.measured[name] for name in SINGLE_FEEDBACK_LEARNERS])
    lead = values - np.take_along_axis(values, grid.winner[None, ..., None], axis=0)
    error = lead.std(axis=-1, ddof=1) / np.sqrt(lead.shape[-1])
    others = np.arange(len(SINGLE_FEEDBACK_LEARNERS))[:, None, None] != grid.winner
    return np.asarray((lead.mean(axis=-1) > 2 * error).all(axis=0, where=others))


def compute_map_regrets(grid: Grid) -> dict[str, tuple[float, float]]:
    """The mean and the largest regret over the map, in nats, of each method."""
    found = {name: grid.compute_regret(name) / grid.beta for name in COMPARED_LEARNERS}
    return {name: (float(values.mean()), float(values.max())) for name, values in found.items()}


def compare_slopes(fit: SlopeFit) -> tuple[SlopeEstimate, SlopeEstimate]:
    """The slope that is larger according to the poster's claim, and the other one."""
    larger, smaller = ("dpo", "sft") if fit.axis == "coverage" else ("sft", "dpo")
    return fit.slope[larger], fit.slope[smaller]


def is_ratio_defined(fit: SlopeFit) -> bool:
    """Whether the interval of the divisor lies above 0; else the ratio is not defined."""
    return compare_slopes(fit)[1].low > 0


def judge_claim(fit: SlopeFit) -> str:
    """Whether the poster's claim holds in a fit, by the interval of the ratio or else by those of the slopes."""
    if is_ratio_defined(fit):
        larger, smaller = fit.ratio, SlopeEstimate(1, 1, 1)
    else:
        larger, smaller = compare_slopes(fit)
    if larger.low > smaller.high:
        return HOLDS
    return FAILS if larger.high < smaller.low else OPEN


def describe_claim_verdicts(fits: Sequence[SlopeFit], axis: str) -> str:
    """In which fits one of the poster's claims holds, in which it does not, and in which it is open."""
    own = [fit for fit in fits if fit.axis == axis]
    verdicts = []
    for verb in (HOLDS, FAILS, OPEN):
        found = [fit for fit in own if judge_claim(fit) == verb]
        where = []
        for name in dict.fromkeys(fit.subset for fit in found):
            lengths = [fit.n for fit in found if fit.subset == name]
            always = len(lengths) == sum(fit.subset == name for fit in own)
            where.append(name if always else f"{name}, with {' and '.join(f'{n:,}' for n in lengths)} edits")
        if found:
            verdicts.append(f"{'is open' if verb == OPEN else verb} in {len(found)} ({'; '.join(where)})")
    return f"“{POSTER_CLAIMS[axis]}”: of {len(own)} fits, this {', '.join(verdicts)}."


def count_bound_violations(curves: Iterable[Curves], learner: str) -> tuple[int, int]:
    """The number of logs in which a learner's SubOpt exceeded its bound, and the number of all logs."""
    exceeded = [one.measured[learner] > one.bounds[learner] for one in curves]
    return int(sum(found.sum() for found in exceeded)), sum(found.size for found in exceeded)


def describe_bound_violations(curves: Sequence[Curves]) -> str:
    """A sentence with the number of broken bounds of each learner that has one, and the share of all."""
    counts = {name: count_bound_violations(curves, name) for name in curves[0].bounds}
    each = [f"{get_method_label(name)}'s in {count:,}" for name, (count, _) in counts.items()]
    each[0] = each[0].replace("'s in", "'s bound was broken in") + f" of {next(iter(counts.values()))[1]:,} logs"
    count, total = (sum(part) for part in zip(*counts.values(), strict=True))
    return f"{', '.join(each)}: {count / total:.1%} of all, where δ allows {BOUND_DELTA:.0%}."


def describe_gamma_bounds(curves: Iterable[Curves]) -> str:
    """A sentence with the number of broken bounds of SFT that use γ_min, on SubOpt and on the distance to π*."""
    found = list(curves)
    subopt = sum(int((one.measured["sft"] > one.gamma_bounds).sum()) for one in found)
    distance = sum(int((one.sft_distance > one.sft_distance_bounds).sum()) for one in found)
    return (
        f"With γ_min alone, SFT's bound on SubOpt was broken in {subopt:,} logs, and its bound on the distance to π* "
        f"in {distance:,}."
    )


def describe_regrets(regrets: Iterable[LabRegret]) -> list[str]:
    """The late ensemble's regret beside its bound, a sentence for each setting."""
    sentences = []
    for regret in regrets:
        each = " and ".join(f"{rows[:, -1].mean():.2f} (α = {name})" for name, rows in regret.measured.items())
        title = format_setting(regret.setting)
        rounds = f"{len(regret.bound):,} rounds"
        sentences.append(
            f"Late ensemble, {title}: the regret of {rounds} is {each}; the bound is {regret.bound[-1]:,.0f}."
        )
    return sentences


def find_halving_size(curves: Curves, measured: Array) -> float:
    """The length of the shortest log with a mean SubOpt of at most half of SubOpt(π_ref); infinite if none has."""
    enough = measured.mean(axis=0) <= curves.reference / 2
    return min((float(n) for n, good in zip(curves.log_sizes, enough, strict=True) if good), default=inf)


def describe_winners(grid: Grid) -> str:
    """The winners with the weaker and with the stronger half of the users, and the number of significant wins."""
    half = (len(grid.attentions) + 1) // 2
    sentences = []
    for attentions, winners, sign, edge in (
        (grid.attentions[:half], grid.winner[:half], "≤", -1),
        (grid.attentions[half:], grid.winner[half:], "≥", 0),
    ):
        counts = {name: int((winners == k).sum()) for k, name in enumerate(SINGLE_FEEDBACK_LEARNERS)}
        each = [
            f"{get_method_label(name)} {count}"
            for name, count in sorted(counts.items(), key=lambda one: -one[1])
            if count
        ]
        if attentions:
            sentences.append(f"p {sign} {attentions[edge]:g}: {', '.join(each)}.")
    significant = find_significant_wins(grid)
    sentences.append(
        f"In {int(significant.sum())} of {significant.size}, set in bold, the lead exceeds two standard errors."
    )
    means = np.stack([grid.measured[name].mean(axis=-1) for name in SINGLE_FEEDBACK_LEARNERS])
    tied = int(((means == means.min(axis=0)).sum(axis=0) > 1).sum())
    if tied:
        sentences.append(f"In {tied} two or more are equally good, and the first of them counts.")
    return " ".join(sentences)


def describe_fixed_points(points: Iterable[FixedPoint]) -> str:
    """In which settings every start leads to one fixed point, and in which there are several."""
    found = {key: list(group) for key, group in groupby(points, lambda one: (one.attention, one.divergence))}
    converged = {key: group for key, group in found.items() if all(one.residual <= MAX_RESIDUAL for one in group)}
    several = [key for key, group in converged.items() if max(one.distance for one in group) > SAME_POLICY_DISTANCE]
    spread = [key for key in several if np.ptp([one.distance for one in converged[key]]) > SAME_POLICY_DISTANCE]
    single = [key for key in converged if key not in several]
    sentences = []
    if single:
        sentences.append(
            f"In {len(single)} of {len(found)} settings every start leads to the setting's own π* "
            f"({_join_settings(single)})."
        )
    if several:
        sentences.append(
            f"In {len(several)} of {len(found)} there are several fixed points: some start ends at a distance of more "
            f"than {SAME_POLICY_DISTANCE} from the setting's own ({_join_settings(several)}). In {len(spread)} of them "
            "the distances of the starts also differ from each other by more than that."
        )
    if len(converged) < len(found):
        unconverged = set(found) - set(converged)
        sentences.append(f"In {len(unconverged)} some start did not converge ({_join_settings(unconverged)}).")
    return " ".join(sentences)


def _join_settings(keys: Iterable[tuple[float, float]]) -> str:
    return "; ".join(f"p = {attention:g}, {format_divergence(divergence)}" for attention, divergence in sorted(keys))


def format_setting(setting: LabSetting) -> str:
    """A readable setting, e.g. `p = 0.4, coverage good (1 nat)`."""
    word = "good" if setting.divergence <= 2 else "poor" if setting.divergence >= 5 else "fair"
    return f"{format_user(setting)}, coverage {word} ({format_divergence(setting.divergence)})"


def format_user(setting: LabSetting) -> str:
    """The user of a setting, e.g. `p = 0.4` or `exactly 2 of 5`."""
    if setting.exact:
        return f"exactly {round(setting.attention * SPACE.count)} of {SPACE.count}"
    return f"p = {setting.attention:g}"


def format_divergence(divergence: float) -> str:
    """A divergence with its unit, e.g. `3 nats`."""
    return f"{divergence:g} nat{'' if divergence == 1 else 's'}"


def format_nats(value: float) -> str:
    """A loss in nats, to three places."""
    return _format_signed(value, 3)


def format_ratio(fit: SlopeFit) -> str:
    """The ratio of a fit with its interval; a dash where it is not defined."""
    found = (fit.ratio.value, fit.ratio.low, fit.ratio.high)
    if not is_ratio_defined(fit) or not all(map(isfinite, found)):
        return "–"
    value, low, high = (_format_signed(figure, 2) for figure in found)
    return f"{value} ({low} to {high})"


def _format_signed(value: float, places: int) -> str:
    """A figure with a real minus sign, and no sign before zero."""
    return f"{value:z.{places}f}".replace("-", "−")


def _build_winner_table(grid: Grid) -> Table:
    table = _make_table("p", *(f"{far:g}" for far in grid.divergences))
    significant = find_significant_wins(grid)
    for s, attention in enumerate(grid.attentions):
        names = [
            Text(get_method_label(SINGLE_FEEDBACK_LEARNERS[k]), style="bold" if significant[s, a] else "")
            for a, k in enumerate(grid.winner[s])
        ]
        table.add_row(Text(f"{attention:g}"), *names)
    return table


def _build_regrets_table(grids: Sequence[Grid]) -> Table:
    heads = [f"{kind}, {grid.n:,}" for grid in grids for kind in ("mean", "largest")]
    table = _make_table("", *heads)
    found = [compute_map_regrets(grid) for grid in grids]
    for name in COMPARED_LEARNERS:
        table.add_row(get_method_label(name), *(format_nats(value) for one in found for value in one[name]))
    return table


def _build_slopes_table(fits: Sequence[SlopeFit]) -> Table:
    table = _make_table("along", "n", "SFT", "DPO", "poster")
    for fit in fits:
        slopes = (format_nats(fit.slope[name].value) for name in ("sft", "dpo"))
        table.add_row(f"{fit.axis}: {fit.subset}", f"{fit.n:,}", *slopes, judge_claim(fit))
    return table


def _make_table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for other in others:
        table.add_column(other, justify="right")
    return table
