"""Curves against the places they should have, and against values that have none."""

import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from minimagen.evaluation.curves import HEIGHT_PX, WIDTH_PX, Line, draw_lines, read_lines


def _points(svg: str, index: int) -> list[tuple[float, float]]:
    path = re.search(rf'class="line-{index}" d="M([^"]+)"', svg)
    assert path is not None
    return [(float(x), float(y)) for x, y in (pair.split() for pair in path[1].split("L"))]


def test_drawing_is_well_formed_xml_with_one_path_per_line():
    svg = draw_lines([Line("a < b", (1, 2), (0.5, 0.1)), Line("held out", (1, 2), (0.6, 0.2))])

    root = ET.fromstring(svg)

    assert [path.get("class") for path in root.iter("path") if path.get("class", "").startswith("line")] == [
        "line-0",
        "line-1",
    ]


def test_equal_ratios_are_equal_distances():
    svg = draw_lines([Line("loss", (0, 10, 20), (1.0, 0.1, 0.01))])

    (x0, y0), (x1, y1), (x2, y2) = _points(svg, 0)
    assert y1 - y0 == pytest.approx(y2 - y1, abs=0.11)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11)
    assert y0 < y1, "larger values are higher"


def test_long_lines_are_thinned_by_means_and_stay_inside():
    steps = tuple(range(1, 10_001))

    points = _points(draw_lines([Line("loss", steps, tuple(1 / step for step in steps))]), 0)

    assert len(points) == 400
    assert all(0 <= x <= WIDTH_PX and 0 <= y <= HEIGHT_PX for x, y in points)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_values_without_a_logarithm_are_left_out(bad: float):
    svg = draw_lines([Line("loss", (1, 2, 3), (1.0, bad, 0.5))])

    assert len(_points(svg, 0)) == 2


def test_a_single_constant_point_is_drawn():
    assert _points(draw_lines([Line("loss", (1,), (0.25,))]), 0)


def test_nothing_to_draw_is_refused_by_name():
    with pytest.raises(ValueError, match="loss"):
        draw_lines([Line("loss", (1, 2), (0.0, math.nan))])


def test_lines_are_read_by_column_and_empty_cells_are_steps_without_a_value(tmp_path: Path):
    (tmp_path / "curves.csv").write_text("step,loss,other\n1,0.5,\n2,0.25,0.75\n")

    lines = read_lines(tmp_path / "curves.csv", {"other": "held out", "loss": "training"})

    assert lines == [Line("held out", (2.0,), (0.75,)), Line("training", (1.0, 2.0), (0.5, 0.25))]


@pytest.mark.parametrize(("content", "message"), [("step\n1\n", "no column 'loss'"), ("step,loss\n1,x\n", "'x'")])
def test_a_bad_table_is_refused_by_name(tmp_path: Path, content: str, message: str):
    (tmp_path / "curves.csv").write_text(content)

    with pytest.raises(ValueError, match=rf"curves\.csv.*{message}"):
        read_lines(tmp_path / "curves.csv", {"loss": "training"})
