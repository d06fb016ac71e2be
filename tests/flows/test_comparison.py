import csv
import io
import json

from flows.comparison import Row, csv_text, page

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
