"""The machine and the processes that a training runs on, checked and connected before any work.

Knows no data. Processes are started by torchrun or `accelerate launch`; on its own, a command is the only one.
"""

import importlib.util
import logging
import os
import shutil
import warnings
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs

from minimagen.config import ConfigError, TrainingConfig
from minimagen.training.ranks import Ranks

PATIENCE = timedelta(days=1)
"""How long a process waits for another one, which may be decoding all pictures; a dead one is noticed at once."""
_MIXED_PRECISION = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def check_machine(unet_name: str, config: TrainingConfig, device: torch.device) -> None:
    """Refuses what this machine cannot compute.

    Raises:
        ConfigError: fp16 without a GPU, or compilation without a compiler.
    """
    key = f"params.yaml: unets.{unet_name}.training"
    if config.precision == "fp16" and device.type == "cpu":
        raise ConfigError(f"{key}.precision: fp16 needs a GPU; bf16 runs on both")
    missing = _missing_compiler(device) if config.execution.compile else None
    if missing is not None:
        raise ConfigError(f"{key}.execution.compile: {missing}; install it or set compile to false")


def open_ranks(config: TrainingConfig, device: torch.device) -> Ranks:
    """Connects the processes of this training; those beside the main one only log warnings from here on."""
    with warnings.catch_warnings():
        # accelerate chooses the number of threads where nobody did; MINIMAGEN_THREADS has the last word.
        warnings.filterwarnings("ignore", message="OMP_NUM_THREADS")
        accelerator = Accelerator(
            cpu=device.type == "cpu",
            mixed_precision=_MIXED_PRECISION[config.precision],
            kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
        )
    ranks = Ranks(accelerator)
    if not ranks.is_main:
        logging.getLogger("minimagen").setLevel(logging.WARNING)
    return ranks


def _missing_compiler(device: torch.device) -> str | None:
    """Returns what torch.compile would look for in vain."""
    if device.type == "cuda":
        return None if importlib.util.find_spec("triton") is not None else "the package triton is not installed"
    compiler = os.environ.get("CXX", "g++")
    return None if shutil.which(compiler) is not None else f"there is no C++ compiler {compiler!r}"
