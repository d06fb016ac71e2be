"""Low-frequency consistency: an enlarged picture, made small again, is the picture it was enlarged from.

A super-resolution network may move colours. Here its estimates keep their detail and get their coarse content from the
input: x0 + A+ (y - A x0), with A the antialiased shrinking of the cascade and A+ its pseudo-inverse (DDNM, Wang et al.
2022, the range-null space decomposition; the idea is ILVR's, Choi et al. 2021). Knows no network and no sampler.
"""

import torch
from einops import einsum

from minimagen.diffusion.guidance import DenoiseFn
from minimagen.shapes import Images, ResizedImages, ResizeMatrix, Timesteps

NUM_ROUNDS = 8
"""Corrections of an estimate, each followed by a clamp. One would do without the clamp: what that takes from the bright
and dark parts, the next corrections put beside them."""


def shrink_matrix(size: int, low_res_size: int) -> ResizeMatrix:
    """Returns A, float64 of shape (low_res_size, size): antialiased bicubic shrinking of one side, without a clamp."""
    unit = torch.eye(size, dtype=torch.float64)[None, None]
    return torch.nn.functional.interpolate(
        unit, size=(low_res_size, size), mode="bicubic", align_corners=False, antialias=True
    )[0, 0]


def agree(x0: Images, low_res: ResizedImages, shrink: ResizeMatrix, enlarge: ResizeMatrix) -> Images:
    """x0 <- x0 + A+ (y - A x0), clamped to [-1, 1] and repeated: projections onto the pictures that shrink to y, and
    onto those in range, by turns."""
    for _ in range(NUM_ROUNDS):
        shrunk = einsum(shrink, x0, shrink, "low high, b c high wide, narrow wide -> b c low narrow")
        change = einsum(enlarge, low_res - shrunk, enlarge, "high low, b c low narrow, wide narrow -> b c high wide")
        x0 = (x0 + change).clamp(-1.0, 1.0)
    return x0


def agreeing(denoise: DenoiseFn, low_res: ResizedImages, size: int) -> DenoiseFn:
    """Returns ``denoise`` with estimates that shrink to ``low_res``, the input without its noise.

    Args:
        size: side of the estimates, px.
    """
    shrink = shrink_matrix(size, low_res.shape[-1])
    enlarge = torch.linalg.solve(shrink @ shrink.T, shrink).T  # A+ = A^T (A A^T)^-1
    shrink, enlarge = shrink.to(low_res), enlarge.to(low_res)

    def denoise_in_agreement(xt: Images, t: Timesteps) -> Images:
        return agree(denoise(xt, t), low_res, shrink, enlarge)

    return denoise_in_agreement
