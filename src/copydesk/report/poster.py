"""The results of the paper, as its poster shows them.

Source: poster of *Principled Fine-tuning of LLMs from User-Edits: A Medley of Preference, Supervision, and Reward*,
Misra, Pacchiano, Chi and Gao, NeurIPS 2025, arXiv 2601.19055, section Results. Summaries and emails for users that a
language model plays: strong, Qwen 3 32B, and weak, Llama 3.1 8B. Every figure is a mean and a spread over seeds. The
poster has no row for RL.
"""

PAPER_SCENARIOS = ("summarization/strong", "summarization/weak", "email/strong", "email/weak")

_PAPER_TABLE = {
    "base": [(0.9455, 0.01), (0.9445, 0.02), (0.5108, 0.03), (0.4923, 0.01), (0.7364, 0.10)],
    "sft": [(0.5377, 0.02), (0.9304, 0.19), (0.4159, 0.05), (0.4539, 0.03), (0.5772, 0.19)],
    "dpo": [(1.0790, 0.06), (0.8267, 0.06), (0.3365, 0.00), (0.3368, 0.01), (0.8698, 0.11)],
    "early": [(0.2092, 0.09), (0.3586, 0.01), (0.3438, 0.06), (0.4864, 0.01), (0.1612, 0.01)],
    "late": [(0.2768, 0.13), (0.4403, 0.03), (0.4202, 0.11), (0.3739, 0.04), (0.1586, 0.04)],
}  # the four columns, then Max SubOpt

PAPER_COSTS: dict[str, dict[str, dict[str, float]]] = {
    column: {method: {"mean": row[i][0], "std": row[i][1]} for method, row in _PAPER_TABLE.items()}
    for i, column in enumerate(PAPER_SCENARIOS)
}
"""Mean edit cost by column and method."""

PAPER_MAX_SUBOPT: dict[str, dict[str, float]] = {
    method: {"mean": row[-1][0], "std": row[-1][1]} for method, row in _PAPER_TABLE.items()
}
"""Max SubOpt by method."""


def match_paper_scenario(column: str) -> str | None:
    """The poster's column that one of ours answers to; None where there is none.

    It is that of the same task and user, whether the documents are PRELUDE's or made up: `email/strong` and
    `prelude-email/strong` both answer to `email/strong`.
    """
    asked = column.removeprefix("prelude-")
    return asked if asked in PAPER_SCENARIOS else None


def compute_paper_robustness() -> dict[str, float]:
    """An ensemble's Max SubOpt, divided by that of the best method of a single feedback; from the poster's means."""
    best = min(PAPER_MAX_SUBOPT[method]["mean"] for method in ("sft", "dpo"))
    return {method: PAPER_MAX_SUBOPT[method]["mean"] / best for method in ("early", "late")}
