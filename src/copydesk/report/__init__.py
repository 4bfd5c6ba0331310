"""What a run shows: its figures, tables for the terminal, and one self-contained HTML page."""

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
