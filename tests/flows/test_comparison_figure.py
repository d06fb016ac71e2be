import re
from xml.etree import ElementTree

from flows.comparison import Row
from flows.comparison_figure import figure, training_curves
from minimagen.evaluation.curves import Line
from tests.flows.test_comparison import ROWS


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


def test_without_a_number_to_draw_over_there_is_no_figure() -> None:
    assert figure([Row("a", {"dim_mults": [1, 2]}, {"unets.base.loss": 1.0}, "0")]) is None


def test_curves_of_all_experiments_stand_in_one_panel_for_each_network() -> None:
    line = Line("base", (10.0, 20.0), (0.5, 0.1))
    rows = [Row(f"d{dim}", {"dim": dim}, {}, "0", curves={"base": line, "super": line}) for dim in (8, 16)]

    drawn = training_curves(rows)

    assert drawn is not None
    texts = [element.text for element in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")]
    panels = ["base: held-out loss over steps", "super: held-out loss over steps"]
    assert [text for text in texts if text in panels] == panels
    assert texts.count("dim 8") == texts.count("dim 16") == 2 and drawn.count('<path class="line-') == 4


def test_without_curves_there_is_no_figure_of_them() -> None:
    assert training_curves(ROWS) is None
