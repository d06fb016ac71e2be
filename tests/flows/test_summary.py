import base64
import io
from pathlib import Path

from PIL import Image

from flows.summary import MAX_SHEET_PX, data_uri, markdown
from flows.tracked_runs import TrackedCascade, TrackedRun

RUNS = TrackedCascade(TrackedRun("cascade 012345", "f00"), (TrackedRun("train base 012345", "ba5e"),), None)


def test_page_without_metrics_or_tracking_is_a_table_of_stages(project: Path) -> None:
    page = markdown(project, {"draw": "Ran", "judge": "UpToDate"}, None)
    assert page == "# 1 of 2 stages ran\n\n| stage | outcome |\n|---|---|\n| draw | Ran |\n| judge | UpToDate |\n"


def test_page_leads_to_the_runs_in_mlflow(project: Path) -> None:
    page = markdown(project, {}, RUNS)
    assert "- [cascade 012345](http://127.0.0.1:5000/#/runs/f00)\n" in page
    assert "- [train base 012345](http://127.0.0.1:5000/#/runs/ba5e)\n" in page


def test_page_holds_the_sheet_of_pictures_small_enough(project: Path, tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    Image.new("RGB", (3000, 1000), (200, 20, 20)).save(path)
    page = markdown(project, {}, TrackedCascade(None, (), path))
    assert f"![sheet.png]({data_uri(path)})" in page
    with Image.open(io.BytesIO(base64.b64decode(data_uri(path).partition(",")[2]))) as image:
        assert image.size == (MAX_SHEET_PX, round(MAX_SHEET_PX / 3))
