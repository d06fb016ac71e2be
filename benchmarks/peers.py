"""Training speed beside the peers: this project, the original MinImagen and imagen-pytorch, in turn, in one run.

    python -m benchmarks.peers                the U-Nets of 32 and 64 px, images a second
    python -m benchmarks.peers --own-loop     both U-Nets on every batch, beside MinImagen's own loop with T5-base
    python -m benchmarks.peers --own-loop --case paper-256    the same with the paper's networks: for a GPU

Every contestant trains a network of the same structure on batches of the same size with the same number of threads, in
fp32, each in a process of its own that waits while another works. The peers' steps are bare: forward, backward, clip,
fused AdamW on one batch that never changes. This project's are those of `minimagen train`, with batches assembled,
weights averaged and losses checked.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.course import demo_params
from benchmarks.peer_side.case import Case
from benchmarks.peer_side.matrix_rate import matrix_rate
from benchmarks.rounds import Measured, Order, measure_workers, ratio_of, speed_of
from benchmarks.scenes_data import build_tokenizer, draw_scenes
from benchmarks.setup_peers import peer_python
from benchmarks.tables import Cell, Report, describe_machine, show
from minimagen.stages.device import device_from_environment

PEER_SIDE = Path(__file__).parent / "peer_side"
OURS = "this project"
THE_CASE = Case(
    stage="base",
    dim=32,
    dim_mults=(1, 2, 4),
    num_resnet_blocks=(2, 2, 2),
    layer_attns=(False, True, True),
    base_px=32,
    super_px=64,
    batch_size=8,
    num_tokens=16,
    text_dim=768,
    num_threads=2,
)
PAPER_256 = Case(
    stage="base",
    dim=256,
    dim_mults=(1, 2, 4),
    num_resnet_blocks=(2, 2, 2),
    layer_attns=(False, True, True),
    base_px=64,
    super_px=128,
    batch_size=2,
    num_tokens=64,
    text_dim=768,
    num_threads=2,
    super_dim=128,
    super_num_resnet_blocks=(2, 4, 8),
    super_layer_attns=(False, False, True),
    num_null_tokens=256,
)
"""The paper's main cascade, 396,565,638 parameters."""
CASES = {"small": THE_CASE, "paper-256": PAPER_256}
NUM_LOOP_PICTURES = 64
NOTES = (
    "images/s, median and range over the rounds; /cpu-s counts processor seconds, which other processes disturb less",
    "ratio: how many times faster this project is, round by round; share: of this machine's rate of matrix products",
)


@dataclass(frozen=True, slots=True)
class Entrant:
    """A contestant before its process is started."""

    name: str
    script: str
    """A module of this project, or a file of peer_side."""
    case: Case

    def command(self) -> list[str]:
        """Returns the command of its process."""
        if self.script.endswith(".py"):
            return [str(peer_python()), str(PEER_SIDE / self.script), self.case.text()]
        return [sys.executable, "-m", self.script, self.case.text()]


def entrants_of(case: Case) -> list[Entrant]:
    """Returns who trains one U-Net, this project first."""
    ours = "benchmarks.train_ours"
    return [
        Entrant(OURS, ours, case),
        Entrant(f"{OURS}, channels last", ours, replace(case, channels_last=True)),
        Entrant(f"{OURS}, 256 null tokens", ours, replace(case, num_null_tokens=256)),
        Entrant("minimagen 0.0.9", "train_minimagen.py", case),
        Entrant("imagen-pytorch 2.1.0", "train_imagen_pytorch.py", case),
    ]


def loop_entrants(case: Case, folder: Path) -> list[Entrant]:
    """Returns who trains both U-Nets on every batch; writes the pictures and the tokenizer that the peer reads."""
    data = draw_scenes(demo_params(), case.super_px, num_scenes=NUM_LOOP_PICTURES)
    for number, picture in enumerate(data.pictures()):
        picture.save(folder / f"{number}.png")
    (folder / "captions.txt").write_text("\n".join(data.captions), encoding="utf-8")
    build_tokenizer(folder / "t5-tokenizer")
    both = replace(case, stage="cascade", folder=str(folder))
    return [
        Entrant(OURS, "benchmarks.train_ours", both),
        Entrant("minimagen 0.0.9, own loop", "loop_minimagen.py", both),
    ]


def compare(entrants: Sequence[Entrant], *, num_rounds: int, num_steps: int) -> list[dict[str, Cell]]:
    """Starts every contestant, measures them in turn and returns a row for each."""
    orders = {entrant.name: Order(entrant.command(), entrant.case.num_threads) for entrant in entrants}
    measured = measure_workers(orders, num_rounds=num_rounds, num_steps=num_steps)
    device = torch.device(device_from_environment())
    rates = {precision: matrix_rate(precision, device) for precision in {one.case.precision for one in entrants}}
    return [_row(entrant, measured, num_steps, rates[entrant.case.precision]) for entrant in entrants]


def _row(entrant: Entrant, measured: Mapping[str, Measured], num_steps: int, rate: float) -> dict[str, Cell]:
    facts, num_images = measured[entrant.name].facts, num_steps * entrant.case.batch_size
    own, ours = measured[entrant.name].timings, measured[OURS].timings
    speed, flops, num_parameters = speed_of(own, num_images), facts["flops"], facts["num_parameters"]
    assert isinstance(num_parameters, int)
    gflop = flops / entrant.case.batch_size / 1e9 if isinstance(flops, float) else None
    return {
        "U-Net": entrant.case.stage,
        "contestant": entrant.name,
        "parameters": num_parameters,
        "images/s": str(speed),
        "images/cpu-s": speed_of(own, num_images, of_cpu=True).median,
        "ratio": str(ratio_of(ours, own)),
        "ratio, cpu": ratio_of(ours, own, of_cpu=True).median,
        "GFLOP/image": gflop,
        "share of matrix rate": None if gflop is None else f"{speed.median * gflop * 1e9 / rate:.0%}",
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the comparison that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--own-loop", action="store_true", help="both U-Nets on every batch, beside MinImagen's loop")
    parser.add_argument("--stages", nargs="+", choices=("base", "super"), default=("base", "super"))
    parser.add_argument("--only", nargs="+", default=(), help="contestants whose name holds one of these words")
    parser.add_argument("--case", choices=tuple(CASES), default="small", help="the networks")
    parser.add_argument("--threads", type=int, default=THE_CASE.num_threads)
    parser.add_argument("--batch-size", type=int, help="default: the case's")
    parser.add_argument(
        "--precision", choices=("fp32", "bf16"), default="fp32", help="of this project beside the own loop"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=4, help="training steps of a round")
    parser.add_argument("--json", type=Path, help="write the table there as well")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    case = CASES[options.case]
    case = replace(case, num_threads=options.threads, batch_size=options.batch_size or case.batch_size)
    machine = describe_machine()
    with tempfile.TemporaryDirectory() as folder:
        if options.own_loop:
            groups = [loop_entrants(replace(case, precision=options.precision), Path(folder))]
        else:
            groups = [entrants_of(replace(case, stage=stage)) for stage in options.stages]
        rows = [
            row
            for group in groups
            for row in compare(_chosen(group, options.only), num_rounds=options.rounds, num_steps=options.steps)
        ]
    threads = f"batch {case.batch_size}, {case.num_threads} threads, {options.precision}"
    show(Report(f"Training, {threads}", rows, NOTES, machine), options.json)


def _chosen(entrants: Sequence[Entrant], words: Sequence[str]) -> list[Entrant]:
    """Returns those asked for; this project's first one is always among them, ratios are to it."""
    return [one for one in entrants if not words or one.name == OURS or any(word in one.name for word in words)]


if __name__ == "__main__":
    main()
