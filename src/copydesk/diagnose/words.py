"""What the terminal and the page say alike."""

import shlex
from dataclasses import dataclass

from copydesk.diagnose.coverage import Coverage
from copydesk.diagnose.diagnose import Diagnosis


@dataclass(frozen=True)
class LogOrigin:
    """Where a log comes from: its name for people, and the options that give it to a command."""

    name: str
    options: tuple[str, ...]


ADVICE_CAVEAT = "a rule of thumb from worst-case bounds; measured hit rate: docs/diagnose.md"


def format_train_command(diagnosis: Diagnosis, log: LogOrigin) -> str | None:
    """How to train as advised; `None` where there is nothing to learn."""
    advice = diagnosis.advice
    if advice is None:
        return None
    model = diagnosis.coverage.model if diagnosis.coverage else "MODEL"
    words = ["copydesk", "train", *log.options, "--model", model, "--method", advice.method]
    words += ["--lambda-sup", f"{advice.lam:.2g}"] if advice.method == "early" else []
    words += ["--beta", f"{advice.beta:.2g}"] if advice.method != "sft" else []
    return shlex.join([*words, "--out", f"policies/{advice.method}-1"])


def format_figures(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    """The figures in a few words each."""
    counts, costs, quality = diagnosis.counts, diagnosis.costs, diagnosis.quality
    found = [
        ("rows", f"{counts.rows:,}: {counts.edited:,} edited, {counts.accepted:,} accepted, {counts.pending:,} pending")
    ]
    if counts.accepted_share is not None:
        found.append(("accepted as written", f"{counts.accepted_share:.1%}"))
    found.append(("users", f"{counts.users:,}" if counts.users else "not named"))
    if costs.mean is not None and costs.median is not None:
        high = dict(costs.quantiles)[0.9]
        found.append(("edit cost", f"mean {costs.mean:.3f}, median {costs.median:.3f}, 90% at most {high:.3f}"))
        found.append(("metric", costs.metric))
    if quality.kept is not None:
        found.append(("kept of an edited response", f"{quality.kept:.0%} of the words"))
        found.append(("nearly identical pairs", f"{quality.near_identical:.0%} of the edited rows"))
    alike = quality.consistency
    if alike.mean is not None and alike.low is not None and alike.high is not None:
        found.append(
            (
                "consistency",
                f"{alike.mean:.0%} ({alike.low:.0%} to {alike.high:.0%}): how often a common rewrite is done where it "
                f"could be; {alike.covered:.0%} of the changes are common rewrites",
            )
        )
    again = quality.edited_again
    if again is not None:
        share = f", {again.left:.0%} of the first" if again.left is not None else ""
        found.append(("edited again", f"{again.rows:,} texts; the second edit costs {again.second:.3f}{share}"))
    found += _format_coverage(diagnosis.coverage)
    leaks = diagnosis.leaks
    phones = "not looked for" if leaks.phones is None else f"{leaks.phones:,}"
    found.append(("personal data", f"rows with an e-mail address: {leaks.emails:,}, with a phone number: {phones}"))
    found.append(("repeated rows", f"{diagnosis.duplicates:,}"))
    return found


def _format_coverage(coverage: Coverage | None) -> list[tuple[str, str]]:
    if coverage is None:
        return [("coverage", "not measured (give --model)")]
    cut = f", {coverage.cut:,} of them in part" if coverage.cut else ""
    own = "" if coverage.own_per_token is None else f"; its own responses {coverage.own_per_token:.2f}"
    return [
        ("coverage by", f"{coverage.model}, {coverage.rows:,} edited rows{cut}"),
        ("... log π(y')", f"{coverage.edit:.1f}, {coverage.edit_per_token:.2f} a token"),
        ("... log π(y)", f"{coverage.response:.1f}, {coverage.response_per_token:.2f} a token{own}"),
        ("... margin", f"{coverage.margin:.1f} (median size {coverage.margin_scale:.1f})"),
        ("... effective sample size", f"{coverage.ess:.0%} of the rows; overlap per token {coverage.overlap:.0%}"),
        ("... hardly ever written", f"{coverage.rare:.0%} of the y'"),
    ]


def collect_sentences(diagnosis: Diagnosis) -> list[str]:
    """What is said in words."""
    drift = diagnosis.drift.sentence if diagnosis.drift else ""
    return [sentence for sentence in (diagnosis.where.sentence, drift) if sentence]


def format_phrase(words: str) -> str:
    """One side of a rewrite; what is not there as a dash in brackets."""
    return words or "(–)"
