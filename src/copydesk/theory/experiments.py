"""The lab's experiments.

- Curves: SubOpt of each learner over the length of the log, beside its bound.
- Grid: which method wins, for every user with every coverage.
- Slopes: the poster's two claims as regressions of SubOpt on coverage and on γ_min.
- Regret: the late ensemble's regret over the rounds, beside its bound.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from copydesk.ensemble import LateEnsemble, Ucb
from copydesk.theory.bounds import (
    dpo_bound,
    late_bound,
    rl_bound,
    sft_bound,
    sft_distance_bound,
    sft_gamma_bound,
)
from copydesk.theory.lab import LabSetting
from copydesk.theory.learners import (
    BOUND_DELTA,
    LEARNERS,
    compute_subopt,
    compute_table_subopt,
    draw_lab_log,
    select_members,
)
from copydesk.theory.problem import Array
from copydesk.theory.users import World

CURVE_LOG_SIZES = (30, 100, 300, 1_000, 3_000, 10_000)
TABLE_REPEATS = 5
"""How many of the repetitions also train softmax tables."""


@dataclass(frozen=True)
class Curves:
    """SubOpt over n in one setting, in units of cost.

    Attributes:
        setting: the world.
        log_sizes: n, (N,).
        measured: SubOpt of each learner, (R, N), over R repetitions. Within a repetition, each log extends the last.
        tables: SubOpt of softmax tables, without a policy class.
        bounds: bound of each learner that has one, (N,), with probability 1 − δ.
        gamma_bounds: SFT's bound from γ_min instead of χ_q, (N,).
        sft_distance: D(π̂_SFT, π*), (R, N).
        sft_distance_bounds: its bound, (N,), with probability 1 − δ.
        reference: SubOpt(π_ref).
    """

    setting: LabSetting
    log_sizes: tuple[int, ...]
    measured: Mapping[str, Array]
    tables: Mapping[str, Array]
    bounds: Mapping[str, Array]
    gamma_bounds: Array
    sft_distance: Array
    sft_distance_bounds: Array
    reference: float

    def bound_violation_rate(self, learner: str) -> float:
        """Share of the logs, over all repetitions and n, in which SubOpt exceeded the bound."""
        return float((self.measured[learner] > self.bounds[learner]).mean())


def measure_curves(
    setting: LabSetting,
    repeats: int,
    seed: int,
    lengths: Sequence[int] = CURVE_LOG_SIZES,
    done: Callable[[], None] = lambda: None,
) -> Curves:
    """Draw `repeats` logs and learn from growing prefixes of each. `done` is called after each log."""
    measured: dict[str, list[list[float]]] = {name: [] for name in LEARNERS}
    tables: dict[str, list[list[float]]] = {name: [] for name in LEARNERS}
    sft_distance: list[list[float]] = []
    problem = setting.world.problem
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, *_seed_setting(setting), repeat])
        log = draw_lab_log(setting.world, lengths[0], rng)
        rows, table_rows, distances = [], [], []
        for i, n in enumerate(lengths):
            if i:
                log = log + draw_lab_log(setting.world, n - lengths[i - 1], rng)
            chosen = select_members(setting, log)
            rows.append(compute_subopt(setting, chosen))
            distances.append(problem.distance(setting.members.policies[chosen["sft"]], setting.optimum))
            if repeat < TABLE_REPEATS:
                table_rows.append(compute_table_subopt(setting, log))
        sft_distance.append(distances)
        for name in LEARNERS:
            measured[name].append([row[name] for row in rows])
            if table_rows:
                tables[name].append([row[name] for row in table_rows])
        done()
    given = setting.coefficients
    bounds = {
        name: np.array([bound(given, n, BOUND_DELTA).value for n in lengths])
        for name, bound in (("sft", sft_bound), ("dpo", dpo_bound), ("rl", rl_bound))
    }
    return Curves(
        setting,
        tuple(lengths),
        {name: np.array(rows) for name, rows in measured.items()},
        {name: np.array(rows) for name, rows in tables.items()},
        bounds,
        np.array([sft_gamma_bound(given, n, BOUND_DELTA).value for n in lengths]),
        np.array(sft_distance),
        np.array([sft_distance_bound(given, n, BOUND_DELTA).value for n in lengths]),
        problem.suboptimality(problem.reference),
    )


def _seed_setting(setting: LabSetting) -> tuple[int, int, int]:
    return round(1000 * setting.attention), round(1000 * setting.divergence), int(setting.exact)


@dataclass(frozen=True)
class LabRounds:
    """The rounds of a late ensemble.

    Attributes:
        arms: index of the policy played in each round, (T,).
        suboptimality: SubOpt of each policy, (K,).
        spread: length of the interval that contains every loss.
    """

    arms: np.ndarray
    suboptimality: Array
    spread: float

    @property
    def mean(self) -> float:
        """Mean SubOpt of the policies played, over the rounds."""
        return float(self.suboptimality[self.arms].mean())

    @property
    def regret(self) -> Array:
        """Cumulative regret against the best arm after each round, (T,), in units of cost."""
        return np.cumsum(self.suboptimality[self.arms] - self.suboptimality.min())


def play_lab_ensemble(
    world: World, policies: Sequence[Array], rounds: int, alpha: float, rng: np.random.Generator
) -> LabRounds:
    """Play the online phase of Protocol 1 with UCB over `policies`, each (X, Y).

    A round's loss is c + β log π(y|x)/π_ref(y|x), whose mean is J_β, so the bandit minimises Reg_T = Σ_t SubOpt(π_t).
    Losses are shifted and divided by the length of the interval they can lie in. `alpha` is in that unit; the bound
    needs sqrt(2).
    """
    problem = world.problem
    losses, lows, highs = [], [], []
    for policy in policies:
        joint = problem.contexts[:, None, None] * policy[:, :, None] * world.edits
        with np.errstate(divide="ignore"):
            kl_penalty = problem.beta * (np.log(policy) - np.log(problem.reference))
        loss = world.distance + kl_penalty[:, :, None]
        possible = joint > 0
        lows.append(float(loss[possible].min()))
        highs.append(float(loss[possible].max()))
        drawn = rng.choice(joint.size, size=rounds, p=joint.ravel() / joint.sum())
        losses.append(loss.ravel()[drawn])
    low = min(lows)
    spread = max(max(highs) - low, 1e-12)
    late = LateEnsemble([str(k) for k in range(len(policies))], rule=Ucb(alpha=alpha))
    arms = np.empty(rounds, dtype=np.int64)
    pulled = [0] * len(policies)
    for t in range(rounds):
        pull = late.choose()
        arm = int(pull.arm)
        late.update(pull, min(1.0, max(0.0, (losses[arm][pulled[arm]] - low) / spread)))
        pulled[arm] += 1
        arms[t] = arm
    return LabRounds(arms, np.array([problem.suboptimality(policy) for policy in policies]), spread)


GRID_ATTENTIONS = (0.2, 0.4, 0.6, 0.8, 0.9, 1.0)
GRID_DIVERGENCES = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
GRID_LOG_SIZES = (100, 1_000)
GRID_ROUNDS = 200
GRID_ALPHA = 0.3
"""α of the late ensemble, in units of the losses' interval: the default of the gateway and the simulation."""
SINGLE_FEEDBACK_LEARNERS = ("sft", "dpo", "rl")


@dataclass(frozen=True)
class Grid:
    """SubOpt, in units of cost, on a grid of S users and A coverages, with logs of n edits and R repetitions.

    Attributes:
        n: edits in the log.
        attentions, divergences: the axes, (S,) and (A,) (`lab.LabSetting`).
        measured: SubOpt of each learner, (S, A, R); for `late` the mean over its rounds.
        beta: β of each world, (S, A); SubOpt/β is in nats.
        distance_left: share of the distance to π* that remains after an edit, (S, A) (`LabSetting.distance_left`).
        gamma_min: γ_min of each user, (S,).
    """

    n: int
    attentions: tuple[float, ...]
    divergences: tuple[float, ...]
    measured: Mapping[str, Array]
    beta: Array
    distance_left: Array
    gamma_min: Array

    @property
    def winner(self) -> np.ndarray:
        """Index in `SINGLE_FEEDBACK_LEARNERS` of the method with the lowest mean SubOpt, (S, A)."""
        return np.asarray(
            np.stack([self.measured[name].mean(axis=-1) for name in SINGLE_FEEDBACK_LEARNERS]).argmin(axis=0)
        )

    def compute_regret(self, learner: str) -> Array:
        """Mean SubOpt minus that of the winner, (S, A); below 0 where the learner is better than all three."""
        best = np.min([self.measured[name].mean(axis=-1) for name in SINGLE_FEEDBACK_LEARNERS], axis=0)
        return np.asarray(self.measured[learner].mean(axis=-1) - best)


def measure_grid(
    n: int,
    repeats: int,
    seed: int,
    attentions: Sequence[float] = GRID_ATTENTIONS,
    divergences: Sequence[float] = GRID_DIVERGENCES,
    done: Callable[[], None] = lambda: None,
) -> Grid:
    """Draw `repeats` logs of n edits in every setting, learn from each, and play a late ensemble of the results.

    `done` is called after each setting.
    """
    shape = (len(attentions), len(divergences), repeats)
    measured = {name: np.empty(shape) for name in (*LEARNERS, "late")}
    beta, left, gamma_min = np.empty(shape[:2]), np.empty(shape[:2]), np.empty(shape[0])
    for s, attention in enumerate(attentions):
        for a, divergence in enumerate(divergences):
            setting = LabSetting(attention, divergence)
            world = setting.world
            gamma_min[s] = setting.quality.gamma_min
            beta[s, a], left[s, a] = world.problem.beta, setting.distance_left
            for repeat in range(repeats):
                rng = np.random.default_rng([seed, n, *_seed_setting(setting), repeat])
                chosen = select_members(setting, draw_lab_log(world, n, rng))
                for name, value in compute_subopt(setting, chosen).items():
                    measured[name][s, a, repeat] = value
                policies = [setting.members.policies[k] for k in chosen.values()]
                measured["late"][s, a, repeat] = play_lab_ensemble(world, policies, GRID_ROUNDS, GRID_ALPHA, rng).mean
            done()
    return Grid(n, tuple(attentions), tuple(divergences), measured, beta, left, gamma_min)


RESAMPLES = 2_000


@dataclass(frozen=True)
class SlopeEstimate:
    """An estimate with its 95% bootstrap interval over the repetitions."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class SlopeFit:
    """How much SubOpt rises, in nats (SubOpt/β), from the best to the worst end of one axis of the grid.

    Attributes:
        n: edits in the log.
        axis: `coverage`, from good to poor (divergence, scaled to [0, 1] over the grid), or `quality`, from γ_min = 1
            to γ_min = 0.
        subset: description of the settings it was fitted to.
        slope: slope of each learner.
        ratio: for coverage DPO's slope divided by SFT's, for quality SFT's divided by DPO's. Above 1 the poster's claim
            holds.
    """

    n: int
    axis: str
    subset: str
    slope: dict[str, SlopeEstimate]
    ratio: SlopeEstimate


def fit_all_slopes(grid: Grid, seed: int) -> list[SlopeFit]:
    """Fit both axes over the whole grid, coverage also for strong and weak users, quality also by coverage.

    Besides, coverage is fitted for the user who attends to everything, and one fit of quality has the share of the
    distance to π* that remains after an edit in place of γ_min.
    """
    attentions, divergences = np.array(grid.attentions), np.array(grid.divergences)
    shape = grid.distance_left.shape
    scaled = np.broadcast_to((divergences - divergences.min()) / np.ptp(divergences), shape)
    missing = np.broadcast_to(1 - grid.gamma_min[:, None], shape)
    everyone, all_coverage = np.ones(len(attentions), bool), np.ones(len(divergences), bool)
    parts = [
        ("coverage", "all users", scaled, everyone, all_coverage),
        ("coverage", "strong users, p ≥ 0.9", scaled, attentions >= 0.9, all_coverage),
        ("coverage", "the strong user, p = 1", scaled, attentions == 1, all_coverage),
        ("coverage", "weak users, p ≤ 0.4", scaled, attentions <= 0.4, all_coverage),
        ("quality", "all coverages", missing, everyone, all_coverage),
        ("quality", "good coverage", missing, everyone, divergences <= 2),
        ("quality", "poor coverage", missing, everyone, divergences >= 5),
        ("quality", "all coverages, by the distance left", grid.distance_left, everyone, all_coverage),
    ]
    return [
        fit_slopes(grid, axis, subset, along, rows, columns, seed)
        for axis, subset, along, rows, columns in parts
        if rows.any() and columns.any()
    ]


def fit_slopes(
    grid: Grid, axis: str, subset: str, along: Array, users: np.ndarray, divergences: np.ndarray, seed: int
) -> SlopeFit:
    """Least squares of SubOpt/β on `along`, (S, A), with an intercept, over the settings that the two masks select.

    Every user is combined with every coverage, so the two axes are not confounded. Intervals are from a bootstrap over
    the repetitions.
    """
    part = np.ix_(users, divergences)
    along = along[part].ravel()
    along = (along - along.mean()) / ((along - along.mean()) ** 2).sum()
    repeats = next(iter(grid.measured.values())).shape[-1]
    rng = np.random.default_rng([seed, grid.n])
    resampled = rng.multinomial(repeats, np.full(repeats, 1 / repeats), size=RESAMPLES)
    weights = np.concatenate([np.ones((1, repeats)), resampled]) / repeats  # the first row is the original sample
    drawn: dict[str, Array] = {}
    for name in ("sft", "dpo", "rl", "early"):
        nats = (grid.measured[name] / grid.beta[..., None])[part].reshape(-1, repeats)
        drawn[name] = along @ (nats @ weights.T)
    above, below = ("dpo", "sft") if axis == "coverage" else ("sft", "dpo")
    with np.errstate(divide="ignore", invalid="ignore"):  # a slope can be 0 in a resample
        ratio = drawn[above] / drawn[below]
    return SlopeFit(
        grid.n,
        axis,
        subset,
        {name: _estimate_interval(found) for name, found in drawn.items()},
        _estimate_interval(ratio),
    )


def _estimate_interval(values: Array) -> SlopeEstimate:
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return SlopeEstimate(float(values[0]), float(low), float(high))


REGRET_LOG_SIZE = 100
"""Edits in the log that the arms learn from: few, so that the arms differ."""
REGRET_ALPHAS = {"√2": sqrt(2), "0.3": 0.3}
"""α that the bound needs, and the default of the gateway and the simulation; in units of the losses' interval."""


@dataclass(frozen=True)
class LabRegret:
    """Regret against the best arm in hindsight, in units of cost.

    Attributes:
        setting: the world. The arms are SFT, DPO, RL and the early ensemble, each learned from one log.
        measured: regret by the α of UCB as text, (R, T): R repetitions over T rounds, each with its own log and arms.
        bound: bound on the mean for α = √2, (T,), with the widest interval of losses among the repetitions.
    """

    setting: LabSetting
    measured: Mapping[str, Array]
    bound: Array


def measure_regret(
    setting: LabSetting, rounds: int, repeats: int, seed: int, done: Callable[[], None] = lambda: None
) -> LabRegret:
    """Learn arms from a log of `REGRET_LOG_SIZE` edits and play them, `repeats` times. `done` is called after each."""
    measured: dict[str, list[Array]] = {name: [] for name in REGRET_ALPHAS}
    spread = 0.0
    arms = 0
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, 7, *_seed_setting(setting), repeat])
        chosen = select_members(setting, draw_lab_log(setting.world, REGRET_LOG_SIZE, rng))
        policies = [setting.members.policies[k] for k in chosen.values()]
        arms = len(policies)
        for name, alpha in REGRET_ALPHAS.items():
            played = play_lab_ensemble(setting.world, policies, rounds, alpha, rng)
            measured[name].append(played.regret)
            spread = max(spread, played.spread)
        done()
    bound = np.array([late_bound(t, arms, spread).value for t in range(1, rounds + 1)])
    return LabRegret(setting, {name: np.array(rows) for name, rows in measured.items()}, bound)
