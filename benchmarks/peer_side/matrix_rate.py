"""What a step computes and what the machine can: floating-point operations, and the rate of one large matrix product.

Knows no network and needs nothing but torch: every environment imports it. The share of one by the other says how much
there is left to gain.
"""

import time
from collections.abc import Callable
from contextlib import nullcontext
from statistics import median

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

SIDE = {"cpu": 2048, "cuda": 8192}
NUM_PRODUCTS = 7
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def count_flops(step: Callable[[], object]) -> float:
    """Returns the operations of one step, a multiply-add being two; without a GPU its attention is computed as matrix
    products, because torch's counter does not know the fused kernel of the CPU."""
    is_known = torch.cuda.is_available()
    with FlopCounterMode(display=False) as counter, nullcontext() if is_known else sdpa_kernel(SDPBackend.MATH):
        step()
    return float(counter.get_total_flops())


def matrix_rate(precision: str, device: torch.device) -> float:
    """Returns the operations a second of a product of two large matrices, with torch's threads as they are set."""
    side = SIDE[device.type]
    left, right = (torch.randn(side, side, device=device).to(DTYPES[precision]) for _ in range(2))
    seconds = []
    for _ in range(NUM_PRODUCTS):
        synchronize(device)
        started_s = time.perf_counter()
        torch.mm(left, right)
        synchronize(device)
        seconds.append(time.perf_counter() - started_s)
    return 2.0 * side**3 / median(seconds[1:])


def synchronize(device: torch.device) -> None:
    """Waits until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()
