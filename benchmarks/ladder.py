"""What each switch is worth: images, pictures, captions or batches a second, one switch more on every rung.

    python -m benchmarks.ladder train|sample|captions|loader

Every rung is a process of its own; all are measured in turn. Beside each figure stands what it computes and its share
of the machine's rate of matrix products, measured in the same run with the rung's threads and precision.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from benchmarks.encode_ours import EncodeSetting
from benchmarks.load_ours import LoadSetting
from benchmarks.peer_side.case import Case
from benchmarks.peer_side.matrix_rate import matrix_rate
from benchmarks.peers import CASES, THE_CASE
from benchmarks.rounds import Measured, Order, measure_workers, speed_of
from benchmarks.sample_ours import SampleSetting
from benchmarks.tables import Cell, Report, describe_machine, show
from minimagen.stages.device import device_from_environment


class Setting(Protocol):
    """What a worker is told."""

    @property
    def num_threads(self) -> int: ...

    @property
    def precision(self) -> str: ...

    def text(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Switch:
    """One rung: its name and what it changes in the rung before it."""

    name: str
    change: Callable[[Any], Any]
    """Maps the setting before to the setting with the switch."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """A figure, the worker that measures it, where it starts and its switches in order."""

    unit: str
    worker: str
    start: Setting
    switches: tuple[Switch, ...]
    num_steps: int
    """Steps of a round."""

    def rungs(self, only: Sequence[str]) -> dict[str, Setting]:
        """Returns the setting of each rung by name; of the switches those whose name holds a word of ``only``."""
        setting, rungs = self.start, {"start": self.start}
        for switch in self.switches:
            if not only or any(word in switch.name for word in only):
                setting = rungs[f"+ {switch.name}"] = switch.change(setting)
        return rungs


def ladders(num_threads: int, case: Case = THE_CASE) -> dict[str, Ladder]:
    """Returns every figure's ladder; a further switch is a further line here."""
    first = replace(case, num_threads=1, num_null_tokens=256)
    slowest = replace(first, fused_attention=False)

    def on_case(**changes: Any) -> Callable[[SampleSetting], SampleSetting]:
        return lambda setting: replace(setting, case=replace(setting.case, **changes))

    def on(**changes: Any) -> Callable[[Any], Any]:
        return lambda setting: replace(setting, **changes)

    threads = f"{num_threads} threads"
    return {
        "train": Ladder(
            "images", "benchmarks.train_ours", slowest,
            (
                Switch("fused attention", on(fused_attention=True)),
                Switch("one null token, not 256", on(num_null_tokens=1)),
                Switch(threads, on(num_threads=num_threads)),
                Switch("channels last", on(channels_last=True)),
                Switch("bf16", on(precision="bf16")),
                Switch("batch x 4", on(batch_size=first.batch_size * 4)),
                Switch("compile", on(compile=True)),
                Switch("recompute", on(recompute=True)),
            ),
            num_steps=3,
        ),
        "sample": Ladder(
            "pictures", "benchmarks.sample_ours", SampleSetting(first, "ddpm", 1000, 3.0),
            (
                Switch("25 steps of DPM-Solver++, not 1000 of DDPM", on(sampler="dpmpp_2m", num_steps=25)),
                Switch("one null token, not 256", on_case(num_null_tokens=1)),
                Switch("guidance in the middle alone", on(interval=(0.25, 0.75))),
                Switch(threads, on_case(num_threads=num_threads)),
                Switch("channels last", on_case(channels_last=True)),
                Switch("bf16", on_case(precision="bf16")),
                Switch("compile", on_case(compile=True)),
            ),
            num_steps=25,
        ),
        "captions": Ladder(
            "captions", "benchmarks.encode_ours", EncodeSetting("t5-base", num_captions=32, batch_tokens=1),
            (
                Switch("batches by length", on(batch_tokens=8192)),
                Switch("each caption once", on(is_distinct=True)),
                Switch(threads, on(num_threads=num_threads)),
                Switch("bf16", on(precision="bf16")),
                Switch("tiny, not t5-base", on(encoder="tiny", precision="fp32")),
            ),
            num_steps=1,
        ),
        "loader": Ladder(
            "images", "benchmarks.load_ours", LoadSetting(size_px=64, batch_size=8, source="encoded"),
            (
                Switch("decoded once, in memory", on(source="memory")),
                Switch("decoded once, in a mapped file", on(source="file")),
                Switch("batch x 4", on(batch_size=32)),
            ),
            num_steps=50,
        ),
    }  # fmt: skip


def measure(ladder: Ladder, only: Sequence[str], *, num_rounds: int, num_steps: int) -> list[dict[str, Cell]]:
    """Measures every rung in turn and returns a row for each."""
    rungs = ladder.rungs(only)
    # A GPU holds one large network at a time, and hardly drifts.
    is_alone = device_from_environment() == "cuda"
    groups = [[name] for name in rungs] if is_alone else [list(rungs)]
    measured: dict[str, Measured] = {}
    for group in groups:
        orders = {
            name: Order([sys.executable, "-m", ladder.worker, rungs[name].text()], rungs[name].num_threads)
            for name in group
        }
        measured |= measure_workers(orders, num_rounds=num_rounds, num_steps=num_steps)
    kinds = dict.fromkeys((setting.precision, setting.num_threads) for setting in rungs.values())
    rates = {kind: _rate(*kind) for kind in kinds}
    rows: list[dict[str, Cell]] = []
    flops_before: float | None = None
    for name, setting in rungs.items():
        flops = _flops_per_item(measured[name].facts)
        # What torch cannot count in compiled code is what the rung before computed.
        flops_before = flops_before if flops is None else flops
        rate = rates[setting.precision, setting.num_threads]
        rows.append(_row(name, measured, num_steps, ladder.unit, flops_before, rate))
    return rows


def _row(
    name: str, measured: Mapping[str, Measured], num_steps: int, unit: str, flops: float | None, rate: float
) -> dict[str, Cell]:
    own, first = measured[name], next(iter(measured.values()))
    num_items = num_steps * own.facts["num_items"]
    speed = speed_of(own.timings, num_items)
    start = speed_of(first.timings, num_steps * first.facts["num_items"])
    return {
        "rung": name,
        f"{unit}/s": str(speed),
        f"{unit}/cpu-s": speed_of(own.timings, num_items, of_cpu=True).median,
        "times the start": speed.median / start.median,
        f"GFLOP/{unit.removesuffix('s')}": None if flops is None else flops / 1e9,
        "share of matrix rate": None if flops is None else f"{speed.median * flops / rate:.0%}",
    }


def _flops_per_item(facts: Mapping[str, Any]) -> float | None:
    return None if facts["flops"] is None else facts["flops"] / facts["num_items"]


def _rate(precision: str, num_threads: int) -> float:
    torch.set_num_threads(num_threads)
    return matrix_rate(precision, torch.device(device_from_environment()))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures the ladder that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figure", choices=tuple(ladders(1)))
    parser.add_argument("--case", choices=tuple(CASES), default="small", help="the networks of train and sample")
    parser.add_argument("--batch-size", type=int, help="default: the case's")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", nargs="+", default=(), help="switches whose name holds one of these words")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="steps of a round")
    parser.add_argument("--json", type=Path, help="write the table there as well")
    options = parser.parse_args(arguments)
    case = CASES[options.case]
    case = replace(case, batch_size=options.batch_size or case.batch_size)
    ladder, machine = ladders(options.threads, case)[options.figure], describe_machine()
    rows = measure(ladder, options.only, num_rounds=options.rounds, num_steps=options.steps or ladder.num_steps)
    show(Report(f"{options.figure}, up to {options.threads} threads", rows, (), machine), options.json)


if __name__ == "__main__":
    main()
