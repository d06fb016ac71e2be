"""Worker: captions through this project's text encoder.

    python -m benchmarks.encode_ours SETTING

The tokenizer's work is part of what is timed; loading the encoder is not.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch

from benchmarks.course import demo_params
from benchmarks.peer_side.case import claim_output, serve
from benchmarks.peer_side.matrix_rate import count_flops
from benchmarks.random_t5 import write_random_t5
from benchmarks.scenes_data import MAX_TOKENS, build_tokenizer, scene_captions
from minimagen.stages.device import device_from_environment
from minimagen.text.locate import hash_folder
from minimagen.text.names import TINY
from minimagen.text.t5 import TextEncoder


@dataclass(frozen=True, slots=True)
class EncodeSetting:
    """Which encoder, and how captions are put through it."""

    encoder: str
    """tiny, or a size of ``random_t5``."""
    num_captions: int
    """Captions of a step, of which the demo repeats each four times."""
    batch_tokens: int
    """Padded tokens of a forward pass at most; 1 encodes each caption alone."""
    precision: Literal["fp32", "bf16"] = "fp32"
    num_threads: int = 1
    is_distinct: bool = False
    """Encode a caption that occurs twice once."""

    def text(self) -> str:
        """Returns the setting as a worker's argument."""
        return json.dumps(asdict(self))


def main() -> None:
    """Answers the driver until it closes standard input."""
    output, setting = claim_output(), EncodeSetting(**json.loads(sys.argv[1]))
    torch.set_num_threads(setting.num_threads)
    with tempfile.TemporaryDirectory() as folder:
        encoder = open_encoder(setting.encoder, Path(folder))
    step = encoding_step(setting, encoder)
    serve(output, {"flops": count_flops(step), "num_items": setting.num_captions}, step, num_warmup=1)


def open_encoder(name: str, folder: Path) -> TextEncoder:
    """Builds and loads an encoder."""
    if name == TINY:
        build_tokenizer(folder)
    else:
        write_random_t5(folder, name)
    return TextEncoder(hash_folder(folder, name, None, "stored"), device=device_from_environment())


def encoding_step(setting: EncodeSetting, encoder: TextEncoder) -> Callable[[], None]:
    """Returns a function that encodes the demo's first captions."""
    distinct = scene_captions(demo_params(), setting.num_captions // 4)
    captions = (distinct * 4)[: setting.num_captions]
    # The encoder itself looks for doubles: one caption a call keeps it from finding them.
    calls = [captions] if setting.is_distinct else [[caption] for caption in captions]
    if not setting.is_distinct and setting.batch_tokens > 1:
        calls = [distinct] * 4

    def step() -> None:
        for call in calls:
            encoder.encode(call, max_length=MAX_TOKENS, batch_tokens=setting.batch_tokens, precision=setting.precision)

    return step


if __name__ == "__main__":
    main()
