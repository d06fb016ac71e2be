"""The command `sample`: captions to PNG files with their provenance, and one sheet to look at.

Not a stage of the DVC graph: it reads a cascade folder and writes where the user says.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from minimagen import __version__
from minimagen.contact_sheet import contact_sheet
from minimagen.files import canonical_json
from minimagen.pipeline import Cascade, StageOverrides
from minimagen.stages.device import device_from_environment

MAX_NAME_CHARS = 60
GRID_COLUMNS = 4


def run_sample(
    captions: Sequence[str],
    *,
    cascade_folder: Path,
    out: Path,
    num_per_caption: int,
    seed: int,
    overrides: StageOverrides,
    negative: str | None = None,
) -> Path:
    """Draws pictures for captions, writes one PNG per picture and stage, and returns the sheet's path.

    Each PNG carries its caption, seed, settings and the models' hashes as text, so that it can be drawn again.
    """
    cascade = Cascade.load(cascade_folder, device=device_from_environment())
    samples = cascade.sample(
        captions, seed=seed, num_per_caption=num_per_caption, overrides=overrides, negative=negative
    )
    common = {"seed": str(seed), **_settings(cascade, cascade_folder, overrides, negative)}
    out.mkdir(parents=True, exist_ok=True)
    for stage, pixels in samples.pixels.items():
        for index, picture in enumerate(pixels):
            provenance = {"caption": samples.captions[index], "sample_id": samples.sample_ids[index], "stage": stage}
            path = out / f"{_slug(samples.sample_ids[index])}-seed{seed}-{stage}.png"
            Image.fromarray(picture).save(path, pnginfo=_text_chunks(provenance | common))
    sheet = contact_sheet(list(samples.pixels.values()), samples.captions, num_columns=GRID_COLUMNS)
    sheet.save(out / "grid.png", pnginfo=_text_chunks({"captions": json.dumps(samples.captions), "seed": str(seed)}))
    print(
        f"{len(samples.captions)} pictures of {' -> '.join(samples.pixels)} in {out}, all of them in {out / 'grid.png'}"
    )
    return out / "grid.png"


def _settings(cascade: Cascade, folder: Path, overrides: StageOverrides, negative: str | None) -> dict[str, str]:
    """Returns what all pictures of a run have in common, as texts."""
    settings = {name: asdict(settings) for name, settings in cascade.settings(overrides).items()}
    manifests = {name: json.loads((folder / "models" / name / "MANIFEST.json").read_text()) for name in cascade.records}
    return {
        "sampling": canonical_json(settings),
        "models": canonical_json({name: manifest["files"] for name, manifest in manifests.items()}),
        "software": f"minimagen {__version__}",
        **({} if negative is None else {"negative": negative}),
    }


def _text_chunks(fields: dict[str, str]) -> PngInfo:
    info = PngInfo()
    for key, value in fields.items():
        info.add_itxt(key, value)
    return info


def _slug(sample_id: str) -> str:
    caption, number = sample_id.rsplit("#", 1)
    words = re.sub(r"[^a-z0-9]+", "-", caption.lower()).strip("-")[:MAX_NAME_CHARS].rstrip("-")
    return f"{words or 'empty'}-{number}"
