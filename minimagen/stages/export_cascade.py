"""Export of a trained cascade: a folder that ``Cascade.load`` opens anywhere, with a card that says where it is from.

Not a stage of the graph: nothing is made from what is exported.
"""

import json
import re
import shutil
from pathlib import Path

from minimagen.cascade_file import CASCADE_FILE, read_cascade_file
from minimagen.datasets.captioned import data_sha256_of
from minimagen.embeddings import read_embedding_manifest
from minimagen.errors import UserError
from minimagen.files import sha256_file, write_atomic, write_json
from minimagen.manifest import read_manifest
from minimagen.model_card import CardFacts, count_parameters, model_card
from minimagen.pipeline import Cascade
from minimagen.stages.exported_folder import RECORD, exporting

DATA = Path("data")
CARD = "README.md"
_OURS = re.compile(rf"{RECORD}|{CARD}|{re.escape(CASCADE_FILE)}|(?:models/[^/]+|text_encoder)/[^/]+")


def run_export_cascade(out: Path, root: Path = Path()) -> None:
    """Copies the cascade in ``data/`` to ``out``, with README.md, the model card.

    Args:
        out: absent, empty, or an earlier export, which is replaced.

    Raises:
        UserError: the cascade is not whole, was trained on other data than lies beside it, or ``out`` holds anything
            else.
    """
    data = root / DATA
    cascade = Cascade.load(data)
    cascade.encode([""])  # verifies the encoder
    manifest = read_manifest(data / "curated")
    trained_on = data_sha256_of(manifest, read_embedding_manifest(data / "embeddings"))
    for name, record in cascade.records.items():
        if record.data_sha256 != trained_on:
            raise UserError(
                f"{data / 'models' / name} was trained on data {record.data_sha256[:12]}, but {data / 'curated'} with "
                f"{data / 'embeddings'} is {trained_on[:12]}: run `dvc repro`"
            )
    metrics = data / "eval/metrics.json"
    with exporting(out, _OURS, root) as new:
        shutil.copyfile(data / CASCADE_FILE, new / CASCADE_FILE)
        for part in [*(f"models/{name}" for name in cascade.records), "text_encoder"]:
            shutil.copytree(data / part, new / part)
        files = {path.relative_to(new).as_posix(): sha256_file(path) for path in new.rglob("*") if path.is_file()}
        facts = CardFacts(
            records=cascade.records,
            sampling=read_cascade_file(new).sampling,
            data=manifest,
            metrics=json.loads(metrics.read_bytes()) if metrics.is_file() else {},
            num_parameters={name: count_parameters(new / "models" / name) for name in cascade.records},
            files=files,
        )
        write_atomic(new / CARD, model_card(facts, out.name).encode())
        Cascade.load(new)  # what was copied is what was verified
        write_json(new / RECORD, {"format": "cascade", "files": files})
    total = sum(facts.num_parameters.values())
    print(f"export: {out.resolve()}: {' -> '.join(cascade.records)}, {total:,} parameters, card in {CARD}")
