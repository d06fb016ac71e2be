"""Worker: imagen-pytorch learns the demo's scenes by its own recipe: cosine schedule, min-SNR weights, its trainer with
Adam 1e-4 and averaged weights, batch 32, a thousand steps to draw, guidance 3. Runs in the peers' environment.
"""

import sys
from pathlib import Path

import torch
from batches import count_parameters
from case import claim_output, tell
from learning import Learner, learn, read_data, read_task
from offline import define_torchvision_operators, import_imagen_pytorch, seed_everything
from torch import Tensor

BATCH_SIZE = 32


def main() -> None:
    """Trains to every mark and draws there."""
    output, task = claim_output(), read_task(sys.argv[1])
    torch.set_num_threads(task.num_threads)
    define_torchvision_operators()
    import_imagen_pytorch()
    seed_everything(0)
    from imagen_pytorch import Imagen, ImagenTrainer, Unet

    data = read_data(task.folder)
    size_px, text_dim = data.pixels.shape[1], data.tokens.shape[2]
    levels = (False, True, True)
    unet = Unet(dim=24, dim_mults=(1, 2, 4), num_resnet_blocks=1, layer_attns=levels, layer_cross_attns=levels)
    imagen = Imagen([unet], image_sizes=(size_px,), text_embed_dim=text_dim, cond_drop_prob=0.1)
    trainer = ImagenTrainer(imagen, lr=1e-4, verbose=False)
    tell(output, {"num_parameters": count_parameters(imagen.unets[0]), "batch_size": BATCH_SIZE})
    images, (tokens, mask) = data.images(), data.text()

    def step(indices: Tensor) -> None:
        trainer(images[indices], text_embeds=tokens[indices], text_masks=mask[indices], unet_number=1)
        trainer.update(unet_number=1)

    def draw() -> Tensor:
        asked, asked_mask = data.asked()
        return trainer.sample(text_embeds=asked, text_masks=asked_mask, cond_scale=3.0)

    def save(path: Path) -> None:
        trainer.save(str(path))

    def load(path: Path) -> None:
        trainer.load(str(path))

    learner = Learner(step, draw, save, load)
    learn(output, task, "imagen-pytorch", learner, num_pictures=len(images), batch_size=BATCH_SIZE)


if __name__ == "__main__":
    main()
