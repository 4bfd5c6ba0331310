"""Draw the paper's tables as one picture: our mean edit costs and Max SubOpt as bars, the paper's figures as marks.

    python experiments/table/draw_picture.py experiments-out/table-log-loss --out docs/img/tables.png

`--quick` makes a small run first and draws that.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from print_tables import play_small_run

from copydesk.report.metrics import get_paper_costs
from copydesk.report.results import TableResults, collect_tables
from copydesk.report.style import METHOD_STYLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METHODS = ("base", "sft", "dpo", "early", "late")
INK, SOFT, GROUND = "#24292f", "#5d6570", "#f1f2ee"
WIDTH = 0.16
"""The width of a bar; a group of bars takes 1."""
MARGIN = 0.35
"""The room between the columns and Max SubOpt."""


def draw(results: Mapping[str, Any], out: Path, caption: str = "") -> None:
    """Draw a picture with a row for each table of a run."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    tables = collect_tables(results)
    if not tables:
        raise SystemExit("the run has none of the paper's tables: play email/strong and email/weak-to-strong, say")
    methods = [method for method in METHODS if method in results["methods"]]
    with rc_context({"font.size": 9.5, "text.color": INK, "axes.labelcolor": SOFT, "ytick.color": SOFT}):
        figure = Figure(figsize=(10.5, 0.75 + 2.75 * len(tables)), dpi=160, layout="constrained")
        panels = figure.subplots(len(tables), 1, squeeze=False)[:, 0]
        for axes, table in zip(panels, tables, strict=True):
            draw_table(axes, table, results, methods)
        marks: list[Any] = [
            Patch(color=METHOD_STYLES[method].light, label=METHOD_STYLES[method].label) for method in methods
        ]
        marks.append(Line2D([], [], marker="D", linestyle="none", markersize=5.5, markerfacecolor="white",
                            markeredgecolor=INK, label="the paper's (other models and users)"))  # fmt: skip
        figure.legend(handles=marks, loc="outside upper left", ncols=len(marks), frameon=False, handlelength=1.1,
                      columnspacing=1.4)  # fmt: skip
        if caption:
            figure.supxlabel(caption, fontsize=8.5, color=SOFT)
        figure.savefig(out)


def draw_table(axes: "Axes", table: TableResults, results: Mapping[str, Any], methods: Sequence[str]) -> None:
    """Draw a group of bars for each column and, apart from them, one for Max SubOpt."""
    columns: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = [
        (column.table_title.replace(", ", "\n"), results["cells"][column.name], get_paper_costs(column.name) or {})
        for column in table.columns
    ]
    columns.append(("Max SubOpt:\nlargest gap to the best", table.max_subopt, table.paper.max_subopt))
    places = [float(i) for i in range(len(columns))]
    places[-1] += MARGIN
    axes.axvspan(places[-1] - 0.5, places[-1] + 0.5, color=GROUND, zorder=0)
    for i, method in enumerate(methods):
        colour = METHOD_STYLES[method].light
        for place, (_, ours, theirs) in zip(places, columns, strict=True):
            x = place + (i - (len(methods) - 1) / 2) * WIDTH
            if method in ours:
                cell = ours[method]
                axes.bar(x, cell["mean"], WIDTH * 0.86, color=colour, zorder=2)
                if len(cell["per_seed"]) > 1:
                    axes.errorbar(x, cell["mean"], cell["std"], color=INK, linewidth=0.9, capsize=1.8, zorder=3)
            if method in theirs:
                axes.plot(x, theirs[method]["mean"], marker="D", markersize=5, markerfacecolor="white",
                          markeredgecolor=INK, markeredgewidth=1.1, zorder=4)  # fmt: skip
    axes.set_title(table.title, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.set_xticks(places, [title for title, _, _ in columns])
    axes.set_xlim(-0.55, places[-1] + 0.55)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("edit cost of a round")
    axes.tick_params(length=0)
    axes.grid(axis="y", color="#dfe0dc", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#b9bcb8")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, help="the folder of a finished run")
    parser.add_argument("--out", type=Path, help="the picture's file; its ending says the format")
    parser.add_argument("--caption", default="", help="a line of text below the picture")
    parser.add_argument("--quick", action="store_true", help="make a small run and draw that")
    args = parser.parse_args(argv)
    if args.run is None and not args.quick:
        parser.error("name the folder of a run, or give --quick")
    with tempfile.TemporaryDirectory() as scratch:
        run = args.run
        if run is None:
            run = Path(scratch) / "run"
            play_small_run(run)
        out = args.out or Path(scratch) / "tables.png"
        draw(json.loads((run / "results.json").read_text(encoding="utf-8")), out, args.caption)
        print(f"{args.out or 'a picture'}: {out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
