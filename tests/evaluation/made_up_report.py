"""A report of made-up numbers and pictures, with something in every section."""

import numpy as np

from minimagen.evaluation.data_account import DataAccount
from minimagen.evaluation.report import CaptionGallery, Chart, Column, Report, SuperGallery
from minimagen.rows import Failure
from tests.evaluation.made_up_results import made_up_results

FAILURES = [Failure(f"photos:{i}.jpg", f"https://host/{i}.jpg", "too_small", f"short side {i} px") for i in range(60)]


def made_up_report(num_rows: int = 2) -> Report:
    """Returns a report whose galleries have so many rows, the second one of a caption that is empty."""
    pixels = np.random.default_rng(0).integers(0, 256, (num_rows, 8, 8, 3), dtype=np.uint8)
    columns = [Column("real picture", pixels), Column("cascade", pixels[::-1])]
    captions = ["a <script>alert(1)</script> & 'frog'", ""]
    return Report(
        results=made_up_results(),
        held_out=CaptionGallery(captions, columns, "cascade", [{"size": True}, {"size": False}]),
        training=CaptionGallery(captions, columns, "cascade", [{"reproduced": True}, {}]),
        epochs=CaptionGallery(captions, columns, "cascade", [{}, {}]),
        super_galleries=[SuperGallery("super", captions, columns, "cascade", [27.0, 20.0], [24.0, 24.0])],
        charts=[Chart("base", ["training"], '<svg viewBox="0 0 1 1"></svg>')],
        accounts=[
            DataAccount("ingest photos", 100, 3, {"too_small": 60}, FAILURES, {"photos": "CC BY 4.0, by their authors"})
        ],
        parameters={"sampling.base.num_steps": "20"},
        remarks=["Not measured: the <weather>."],
    )
