"""cascade.json: what makes a folder a cascade that can be loaded.

    order of the stages, how each draws, which text encoder they were trained on

Knows no weights and draws nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from minimagen.config import SamplingConfig
from minimagen.errors import MissingFileError, UserError
from minimagen.files import read_json, write_json
from minimagen.saved_model import EncoderRecord

FORMAT_VERSION = 1
CASCADE_FILE = "cascade.json"


@dataclass(frozen=True, slots=True)
class CascadeFile:
    """What cascade.json says of the stages."""

    sampling: dict[str, SamplingConfig]
    """How each stage draws, in cascade order."""


def write_cascade_file(path: Path, sampling: Mapping[str, SamplingConfig], encoder: EncoderRecord) -> None:
    """Writes cascade.json for the stages that ``sampling`` lists in order."""
    write_json(
        path,
        {
            "format_version": FORMAT_VERSION,
            "cascade": list(sampling),
            "sampling": {name: settings.model_dump(mode="json") for name, settings in sampling.items()},
            "text_encoder": encoder.model_dump(mode="json"),
        },
    )


def read_cascade_file(folder: Path) -> CascadeFile:
    """Reads cascade.json of a folder.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged or of another format version.
    """
    path = folder / CASCADE_FILE
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file; `dvc repro` makes one, and it comes with an exported cascade")
    try:
        document = read_json(path)
        version = document["format_version"]
        if version == FORMAT_VERSION:
            settings = {name: json.dumps(document["sampling"][name]) for name in document["cascade"]}
            return CascadeFile({name: SamplingConfig.model_validate_json(text) for name, text in settings.items()})
    except (ValidationError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a record of a cascade: {error!r}") from error
    raise UserError(f"{path}: format version {version}, this program reads {FORMAT_VERSION}")
