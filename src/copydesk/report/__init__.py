"""Results of a run: `results.json`, tables for the terminal, and a self-contained HTML report."""

from copydesk.report.html import write_report
from copydesk.report.results import CostReduction, compute_cost_reduction, summarize_rounds
from copydesk.report.terminal import print_examples, print_results

__all__ = [
    "CostReduction",
    "compute_cost_reduction",
    "print_examples",
    "print_results",
    "summarize_rounds",
    "write_report",
]
