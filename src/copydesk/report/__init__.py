"""What a run shows: its figures, tables for the terminal, and one self-contained HTML page."""

from copydesk.report.html import write_report
from copydesk.report.results import Saving, saving, summarize
from copydesk.report.table import print_examples, print_results

__all__ = ["Saving", "print_examples", "print_results", "saving", "summarize", "write_report"]
