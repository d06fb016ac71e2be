"""Whether trained stages make a chain: each starts where the one before it ends, and all read captions the same way.

Knows records and hashes, no network and no encoder.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from minimagen.errors import UserError
from minimagen.saved_model import EncoderRecord, ModelRecord


def check_chain(records: Sequence[ModelRecord]) -> None:
    """Makes sure that stages fit each other, in cascade order.

    Raises:
        UserError: one starts from another size than the previous one draws, or was trained on another text encoder.
    """
    for previous, record in _pairs(records):
        if record.low_res_size != (None if previous is None else previous.image_size):
            came_from = "nothing" if previous is None else f"{previous.name} of {previous.image_size} px"
            raise UserError(f"{record.name} starts from pictures of {record.low_res_size} px but follows {came_from}")
        if previous is not None and record.encoder != previous.encoder:
            raise UserError(
                f"{record.name} was trained on captions of {record.encoder.name}, {previous.name} on those of "
                f"{previous.encoder.name}, or of another revision or length of it"
            )


def check_encoder(folder: Path, tokenizer_sha256: str, identity_sha256: str, record: EncoderRecord) -> None:
    """Makes sure that the encoder in a folder is the one that stages were trained on.

    Raises:
        UserError: its tokenizer, or another of its files, is not.
    """
    found, expected = ("tokenizer", tokenizer_sha256), record.tokenizer_sha256
    if found[1] == expected and record.identity_sha256 is not None:
        found, expected = ("encoder", identity_sha256), record.identity_sha256
    if found[1] != expected:
        raise UserError(
            f"{folder}: {found[0]} {found[1][:12]} is not the one the cascade was trained with, {expected[:12]} "
            f"({record.name})"
        )


def _pairs(records: Sequence[ModelRecord]) -> Iterator[tuple[ModelRecord | None, ModelRecord]]:
    return zip((None, *records[:-1]), records, strict=True)
