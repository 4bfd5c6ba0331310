"""The figures of a run on a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from copydesk.report.diff import diff_plain, diff_rich
from copydesk.report.examples import context_text, pick_examples
from copydesk.report.methods import label_of
from copydesk.report.results import Round, arms_of, saving

MEASURE_FORMATS = {
    "accepted": ("Accepted", "{:.0%}"),
    "facts": ("Facts right", "{:.1%}"),
    "malformed": ("Malformed", "{:.1%}"),
    "length": ("Length", "{:.0f}"),
    "distance": ("Distance to taste", "{:.2f}"),
}
"""The measures beside the cost that tables show, with title and format."""


def column_title(column: str) -> str:
    """A column for people: `email/strong` is `Email, strong user`."""
    task, _, user = column.partition("/")
    return f"{task[:1].upper()}{task[1:]}, {user} user"


def cost_text(cell: Mapping[str, Any]) -> str:
    """A cell's mean cost, with the spread where there are several seeds."""
    return f"{cell['mean']:.2f}" + (f" ± {cell['std']:.2f}" if len(cell["per_seed"]) > 1 else "")


def saving_text(cells: Mapping[str, Mapping[str, Any]], method: str, baseline: str = "base") -> str:
    """A method's change against the baseline, as a signed percentage; empty where there is none."""
    before = cells[baseline]["mean"] if baseline in cells else 0.0
    if method == baseline or not before:
        return ""
    return f"{100 * (cells[method]['mean'] / before - 1):+.0f}%".replace("-", "−")


def column_table(results: Mapping[str, Any], column: str) -> Table:
    """One column's methods with cost, change against the base model, and the other measures."""
    cells = results["cells"][column]
    measures = [name for name in MEASURE_FORMATS if any(name in cell for cell in cells.values())]
    table = Table(title=column_title(column), title_justify="left", box=None, pad_edge=False)
    table.add_column("Method", no_wrap=True)
    for title in ["Edit cost", "Against base", *(MEASURE_FORMATS[name][0] for name in measures)]:
        table.add_column(title, justify="right")
    least = min(cell["mean"] for cell in cells.values())
    for method, cell in cells.items():
        others = [MEASURE_FORMATS[name][1].format(cell[name]) if name in cell else "–" for name in measures]
        style = "bold" if cell["mean"] == least else ""
        table.add_row(label_of(method), cost_text(cell), saving_text(cells, method), *others, style=style)
    return table


def columns_table(results: Mapping[str, Any]) -> Table:
    """All columns side by side: mean cost per method, and Max SubOpt."""
    columns = [*results["cells"].values(), results["max_subopt"]]
    table = Table(title="Mean edit cost", title_justify="left", box=None, pad_edge=False)
    table.add_column("Method", no_wrap=True)
    for title in [*map(column_title, results["columns"]), "Max SubOpt"]:
        table.add_column(title, justify="right")
    for method in results["methods"]:
        table.add_row(label_of(method), *(cost_text(column[method]) if method in column else "–" for column in columns))
    return table


def print_results(console: Console, results: Mapping[str, Any]) -> None:
    """Print the tables, and the saving in words."""
    for column in results["columns"]:
        console.print(column_table(results, column))
        console.print()
    if len(results["columns"]) > 1:
        console.print(columns_table(results))
        console.print()
    saved = saving(results)
    if saved:
        words = f"{saved.words[0].upper()}{saved.words[1:]}"
        costs = f"edit cost {saved.before:.2f} before, {saved.after:.2f} with {label_of(saved.method)}"
        console.print(Text.assemble((words, "bold"), f" ({costs})."))


def print_examples(console: Console, rounds: Sequence[Round], method: str, n: int = 3) -> None:
    """Print ordinary rounds before and after learning, what the user changed marked.

    In colour on a terminal that has it; elsewhere `[-deleted-]{+inserted+}`.
    """
    arms = arms_of(rounds)
    for example in pick_examples(rounds, method, n=n):
        after = example.after
        console.rule(Text(f"{str(after['kind']).replace('_', ' ')} (round {after['t']})"), align="left")
        console.print(Text(context_text(after["context"]), style="dim"))
        for when, played in (("Before", example.before), ("After", after)):
            who = label_of(str(played["method"]))
            if played["method"] == "late":
                who += f", which played {label_of(arms[str(played['policy'])])}"
            verdict = (
                "accepted as written" if played["edit"] == played["response"] else f"edit cost {played['cost']:.2f}"
            )
            console.print()
            console.print(Text(f"{when}: {who}: {verdict}", style="bold"))
            console.print(_marked(console, str(played["response"]), str(played["edit"])))
        console.print()


def _marked(console: Console, response: str, edit: str) -> Text:
    coloured = console.is_terminal and console.color_system is not None and not console.no_color
    return diff_rich(response, edit) if coloured else Text(diff_plain(response, edit))
