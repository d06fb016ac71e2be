"""Worker: MinImagen's own training loop as it ships, T5-base with random weights on one caption at a time included.

Pictures are files of this machine, so that no download is timed. Its checkpoint and its validation are made at the
first batch, which is warm-up. Runs in the peers' environment.
"""

import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

import torch
from batches import count_parameters
from case import Case, claim_output, gated, read_case
from offline import T5_BASE_WIDTH, define_torchvision_operators, seed_everything

T5_NAME = "t5_base"
MAX_NUM_WORDS = 64
PATIENCE_S = 600


def main() -> None:
    """Answers the driver until it closes standard input."""
    output, case = claim_output(), read_case(sys.argv[1])
    torch.set_num_threads(case.num_threads)
    define_torchvision_operators()
    seed_everything(0)
    _install_random_t5(Path(case.folder) / "t5-tokenizer")
    with tempfile.TemporaryDirectory() as scratch:
        _train(output, case, Path(scratch) / "training")


def _install_random_t5(tokenizer_folder: Path) -> None:
    """Gives the peer an encoder of T5-base's size; speed does not depend on what the weights are."""
    from minimagen.t5 import T5_VERSIONS
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    config = T5Config(d_model=T5_BASE_WIDTH, d_kv=64, d_ff=3072, num_layers=12, num_heads=12)
    T5_VERSIONS[T5_NAME]["model"] = T5EncoderModel(config)
    T5_VERSIONS[T5_NAME]["tokenizer"] = T5Tokenizer(str(tokenizer_folder / "spiece.model"), extra_ids=0)


def _train(output, case: Case, training_folder: Path) -> None:
    from minimagen.Imagen import Imagen
    from minimagen.Unet import Unet

    from minimagen.training import MinimagenTrain, create_directory, get_minimagen_dl_opts

    unets = [Unet(**case.structure("base")), Unet(**case.structure("super"), memory_efficient=True)]
    imagen = Imagen(unets, image_sizes=(case.base_px, case.super_px), text_encoder_name=T5_NAME, cond_drop_prob=0.15)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    imagen = imagen.to(device)
    facts = {"num_parameters": count_parameters(imagen), "flops": None, "torch": torch.__version__}
    options = {**get_minimagen_dl_opts(device), "batch_size": case.batch_size}
    loader = torch.utils.data.DataLoader(_pictures(case), **options)
    batches = chain.from_iterable(repeat(loader))
    MinimagenTrain(
        "now",
        Namespace(EPOCHS=1, ACCUM_ITER=1, CHCKPT_NUM=10**9),
        unets,
        imagen,
        _Gate(output, facts, batches),
        loader,
        create_directory(str(training_folder)),
        torch.optim.Adam(imagen.parameters(), lr=1e-4),
        timeout=PATIENCE_S,
    )


class _Gate:
    """The loader that the loop iterates over once."""

    def __init__(self, output, facts: dict[str, object], batches: Iterator) -> None:
        self._items = gated(output, facts, batches)

    def __iter__(self) -> Iterator:
        return self._items


def _pictures(case: Case) -> torch.utils.data.Dataset:
    from minimagen.training import MinimagenDataset

    folder = Path(case.folder)
    captions = (folder / "captions.txt").read_text().splitlines()
    urls = [(folder / f"{number}.png").as_uri() for number in range(len(captions))]
    rows = {"image_url": urls, "caption": captions}
    return MinimagenDataset(
        {"train": rows, "validation": rows},
        encoder_name=T5_NAME,
        max_length=MAX_NUM_WORDS,
        side_length=case.super_px,
    )


if __name__ == "__main__":
    main()
