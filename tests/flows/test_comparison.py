import csv
import io
import json
import re
from pathlib import Path
from xml.etree import ElementTree

from flows.comparison import Row, csv_text, figure, page, write_comparison

ROWS = [
    Row(
        f"d{dim}-s{steps}",
        {"dim": dim, "dim_mults": [1, 2], "num_steps": steps},
        {"alignment.joint": dim / 100, "unets.base.loss": 1 / dim / steps},
        "0123",
    )
    for dim in (16, 8)
    for steps in (20, 10)
]


def test_table_for_programs_holds_every_number_whole() -> None:
    table = list(csv.DictReader(io.StringIO(csv_text(ROWS))))

    assert [row["experiment"] for row in table] == ["d16-s20", "d16-s10", "d8-s20", "d8-s10"]
    assert float(table[0]["unets.base.loss"]) == 1 / 16 / 20
    assert json.loads(table[0]["dim_mults"]) == [1, 2]


def test_table_for_eyes_marks_the_best_of_each_column() -> None:
    lines = page(ROWS).splitlines()

    assert lines[2] == "| dim | dim_mults | num_steps | alignment.joint | unets.base.loss |"
    assert lines[4:6] == [
        "| 16 | [1, 2] | 20 | **0.16** | **0.003125** |",
        "| 16 | [1, 2] | 10 | **0.16** | 0.00625 |",
    ]


def test_metric_that_one_arm_lacks_leaves_a_gap() -> None:
    rows = [ROWS[0], Row("other", ROWS[1].values, {"unets.base.loss": 1.0}, "4567")]
    assert page(rows).splitlines()[5] == "| 16 | [1, 2] | 10 |  | 1 |"
    assert list(csv.DictReader(io.StringIO(csv_text(rows))))[1]["alignment.joint"] == ""


def test_figure_has_a_line_for_each_network_size_over_the_length_of_training() -> None:
    drawn = figure(ROWS)
    assert drawn is not None
    texts = [element.text for element in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")]

    assert texts[0] == "unets.base.loss over num_steps"
    assert texts[-2:] == ["dim 16, dim_mults [1, 2]", "dim 8, dim_mults [1, 2]"]
    assert drawn.count('<path class="line-') == 2


def test_each_of_many_lines_can_be_seen_and_told_apart() -> None:
    rows = [
        Row(f"c{number}", {"cond_dim": str(number), "num_steps": 10}, {"unets.base.loss": 1.0}, "0")
        for number in range(19)
    ]
    drawn = figure(rows)
    assert drawn is not None
    styles = re.findall(r"\.line-(\d+)\{(stroke:[^}]+)\}", drawn)
    assert [int(number) for number, _ in styles] == list(range(19))
    assert len({style for _, style in styles}) == 19


def test_only_what_is_a_number_in_every_arm_is_drawn_over() -> None:
    def rows(*values: bool | int | None) -> list[Row]:
        return [Row(str(value), {"final_skip": value}, {"unets.base.loss": 1.0}, "0") for value in values]

    assert figure(rows(True, False)) is None
    assert figure(rows(100, None)) is None
    assert figure(rows(100, 200)) is not None


def test_without_a_number_to_draw_over_there_is_no_figure(tmp_path: Path) -> None:
    rows = [Row("a", {"dim_mults": [1, 2]}, {"unets.base.loss": 1.0}, "0")]
    assert figure(rows) is None
    assert [path.name for path in write_comparison(tmp_path, rows)] == ["table.csv", "table.md"]
