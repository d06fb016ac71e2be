"""The report as a reader and a browser meet it: complete, escaped, self-contained, reproducible."""

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from minimagen.evaluation.data_account import DataAccount
from minimagen.evaluation.metrics import PairedInterval
from minimagen.evaluation.report import percent, png_uri, verdict
from minimagen.evaluation.report import render_report as render
from tests.evaluation.made_up_report import FAILURES, made_up_report
from tests.evaluation.made_up_results import made_up_results


def test_page_refers_to_nothing_outside_itself():
    page = render(made_up_report())

    references = re.findall(r"""(?:src|href|action|data|poster)\s*=\s*["']?([^"'\s>]*)|url\(([^)]*)\)|@import""", page)
    assert references
    assert all((one or other).startswith("data:") for one, other in references)
    assert "<script" not in page
    assert "default-src 'none'" in page


def test_every_rejected_file_is_in_the_page_with_its_reason():
    page = render(made_up_report())

    for failure in FAILURES:
        assert f"<td>too_small</td><td><code>{failure.key}</code></td>" in page
        assert failure.source_url in page
        assert failure.detail in page
    assert '<td class="number">163</td><td class="number">100</td><td class="number">3</td>' in page


def test_whose_the_data_are_is_in_the_page():
    assert "<strong>photos</strong>: CC BY 4.0, by their authors" in render(made_up_report())


def test_captions_and_remarks_are_escaped():
    page = render(made_up_report())

    assert "a &lt;script&gt;alert(1)&lt;/script&gt; &amp; &#39;frog&#39;" in page
    assert "the &lt;weather&gt;" in page


def test_an_empty_caption_is_named_as_such():
    assert "(no caption)" in render(made_up_report())


def test_pictures_in_the_page_are_the_pictures():
    report = made_up_report()

    uris = re.findall(r'<img src="data:image/png;base64,([^"]+)"', render(report))

    with Image.open(io.BytesIO(base64.b64decode(uris[0]))) as first:
        np.testing.assert_array_equal(np.asarray(first), report.held_out.columns[0].pictures[0])
    assert len(uris) == 4 * 2 * 2
    assert "image-rendering: pixelated" in render(report)


def test_flags_and_scores_show_what_is_wrong():
    page = render(made_up_report())

    assert '<span class="chip">size &#10003;</span>' in page
    assert '<span class="chip wrong">size &#10007;</span>' in page
    assert '<span class="chip wrong">super 20.00 dB</span>' in page


def test_reasons_stand_before_all_numbers_and_only_if_there_are_any():
    report = made_up_report()

    page = render(replace(report, reasons=["The drawn pictures are <noise>."]))

    assert "The drawn pictures are &lt;noise&gt;." in page.partition('<section class="tiles">')[0]
    assert "What went wrong" not in render(report)


def test_numbers_of_a_fixed_network_are_labelled_not_comparable():
    report = made_up_report()
    features = report.results.features
    assert features is not None
    fixed = replace(features, network=replace(features.network, name="fixed", revision=None, is_comparable=False))
    small = replace(fixed, fid=None, clip_score=None, clip_score_of_real=None)

    pages = [render(replace(report, results=replace(report.results, features=one))) for one in (features, fixed, small)]

    assert ["not comparable across projects" in page for page in pages] == [False, True, True]
    assert "acme/clip</b> (0123456789ab)" in pages[0] and "28.00" in pages[0]
    assert "No Frechet distance: it needs twice as many pictures as features" in pages[2]


def test_how_many_trainings_are_behind_the_numbers_is_said():
    assert "One training and one drawing seed" in render(made_up_report())


def test_equal_reports_give_equal_pages():
    assert render(made_up_report()) == render(made_up_report())


def test_page_without_ground_truth_says_why_and_shows_no_alignment():
    results = replace(made_up_results(), alignment=None)

    page = render(replace(made_up_report(), results=results, remarks=["No source knows its content."]))

    assert "No source knows its content." in page
    assert "Every attribute right" not in page


def test_page_of_a_base_alone_with_nothing_rejected_is_complete():
    report = made_up_report()
    results = replace(report.results, unets=report.results.unets[:1])
    accounts = [DataAccount("ingest scenes", 10, 0, {}, [], {})]

    page = render(replace(report, results=results, super_galleries=[], charts=[], accounts=accounts))

    assert "A cascade of 1" in page
    assert "none</td>" in page
    assert "bicubic upscaling gets" not in page


def test_verdict_is_alignment_then_super_resolution_then_reproduction():
    results = made_up_results()
    worse = replace(results.unets[1].super_resolution, gain=PairedInterval(-1.0, -1.5, -0.5))  # pyright: ignore

    sentences = [
        verdict(results),
        verdict(replace(results, alignment=None)),
        verdict(replace(results, alignment=None, unets=(replace(results.unets[1], super_resolution=worse),))),
        verdict(replace(results, alignment=None, unets=results.unets[:1])),
    ]

    assert sentences[0] == "138 of 144 held-out captions drawn with every attribute right (chance 0.1 %)"
    assert sentences[1].startswith("Held-out pictures enlarged 3.00 dB better than by bicubic upscaling")
    assert sentences[2].startswith("Held-out pictures enlarged 1.00 dB worse")
    assert sentences[3] == "7 of 8 training captions give back a picture of that caption"


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0.0 %"), (1.0, "100.0 %"), (0.0014, "0.1 %"), (0.00002, "0.002 %"), (0.958, "95.8 %")]
)
def test_percent_keeps_small_shares_visible(share: float, text: str):
    assert percent(share) == text


def test_png_uri_of_one_pixel_is_readable():
    uri = png_uri(np.full((1, 1, 3), 7, np.uint8))

    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        assert image.getpixel((0, 0)) == (7, 7, 7)
