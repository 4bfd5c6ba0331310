"""The calibration plot of a cost model."""

import xml.etree.ElementTree as ElementTree

from copydesk.report.plots import plot_calibration

BINS = [
    {"rows": 10, "predicted": 0.1, "cost": 0.15, "error": 0.02},
    {"rows": 10, "predicted": 0.5, "cost": 0.4, "error": 0.05},
]


def test_the_calibration_plot_is_a_file_with_a_label() -> None:
    plot = plot_calibration(BINS)
    root = ElementTree.fromstring(plot)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "2 bins of 20 held-out rows" in root.attrib["aria-label"]
    assert "background: #fff" in root.attrib["style"]
    assert plot_calibration(BINS) == plot


def test_calibration_with_one_bin_at_zero_can_be_drawn() -> None:
    assert "<svg" in plot_calibration([{"rows": 3, "predicted": 0.0, "cost": 0.0, "error": 0.0}])


def test_other_bins_give_another_calibration_plot() -> None:
    moved = [{**one, "cost": one["cost"] + 0.2} for one in BINS]
    assert plot_calibration(moved) != plot_calibration(BINS)
