"""Worker: training steps of the original MinImagen's U-Net with its own loss. Runs in the peers' environment."""

import sys

import torch
from batches import serve_training
from case import Case, claim_output, read_case
from offline import define_torchvision_operators, seed_everything


def main() -> None:
    """Answers the driver until it closes standard input."""
    output, case = claim_output(), read_case(sys.argv[1])
    torch.set_num_threads(case.num_threads)
    define_torchvision_operators()
    seed_everything(0)
    serve_case(output, case)


def serve_case(output, case: Case) -> None:
    """Builds the cascade as its training script does and trains the case's U-Net."""
    from minimagen.Imagen import Imagen
    from minimagen.Unet import Unet

    imagen = Imagen(
        [Unet(**case.structure("base")), Unet(**case.structure("super"), memory_efficient=True)],
        image_sizes=(case.base_px, case.super_px),
        text_encoder_name="t5_base",
        text_embed_dim=case.text_dim,
        cond_drop_prob=0.1,
    )
    serve_training(output, case, imagen)


if __name__ == "__main__":
    main()
