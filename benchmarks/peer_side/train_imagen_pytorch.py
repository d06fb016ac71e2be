"""Worker: training steps of imagen-pytorch's U-Net with its own loss. Runs in the peers' environment.

Its defaults are kept, but for attention at the lowest level, which neither of the others has: without it, it is faster
and its parameters are nearer to theirs.
"""

import sys

import torch
from batches import serve_training
from case import Case, claim_output, read_case
from offline import define_torchvision_operators, import_imagen_pytorch, seed_everything


def main() -> None:
    """Answers the driver until it closes standard input."""
    output, case = claim_output(), read_case(sys.argv[1])
    torch.set_num_threads(case.num_threads)
    define_torchvision_operators()
    import_imagen_pytorch()
    seed_everything(0)
    serve_case(output, case)


def serve_case(output, case: Case) -> None:
    """Builds the cascade as its README does and trains the case's U-Net."""
    from imagen_pytorch import Imagen, Unet

    base, enlarging = (case.structure(stage) | {"attend_at_middle": False} for stage in ("base", "super"))
    imagen = Imagen(
        [Unet(**base), Unet(**enlarging, memory_efficient=True)],
        image_sizes=(case.base_px, case.super_px),
        text_embed_dim=case.text_dim,
        cond_drop_prob=0.1,
    )
    serve_training(output, case, imagen)


if __name__ == "__main__":
    main()
