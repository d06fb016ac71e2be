"""Worker: MinImagen learns the demo's scenes by its own recipe: linear schedule, batch 8, Adam 1e-4, clip 50, guidance
3, a thousand steps of DDPM to draw. Runs in the peers' environment.

Captions are encoded already, which its own loop would do again at every use.
"""

import sys
from pathlib import Path

import torch
from batches import count_parameters
from case import claim_output, tell
from learning import Learner, learn, read_data, read_task
from offline import define_torchvision_operators, seed_everything
from torch import Tensor

BATCH_SIZE = 8


def main() -> None:
    """Trains to every mark and draws there."""
    output, task = claim_output(), read_task(sys.argv[1])
    torch.set_num_threads(task.num_threads)
    define_torchvision_operators()
    seed_everything(0)
    from minimagen.Imagen import Imagen
    from minimagen.Unet import Unet

    data = read_data(task.folder)
    size_px, text_dim = data.pixels.shape[1], data.tokens.shape[2]
    levels = (False, True, True)
    unet = Unet(dim=24, dim_mults=(1, 2, 4), num_resnet_blocks=1, layer_attns=levels, layer_cross_attns=levels)
    imagen = Imagen(
        [unet], image_sizes=(size_px,), text_encoder_name="t5_base", text_embed_dim=text_dim, cond_drop_prob=0.15
    )
    optimizer = torch.optim.Adam(imagen.parameters(), lr=1e-4)
    tell(output, {"num_parameters": count_parameters(imagen), "batch_size": BATCH_SIZE})
    images, (tokens, mask) = data.images(), data.text()

    def step(indices: Tensor) -> None:
        imagen.train()
        loss = imagen(images[indices], text_embeds=tokens[indices], text_masks=mask[indices], unet_number=1)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(imagen.parameters(), 50)
        optimizer.step()
        optimizer.zero_grad()

    def draw() -> Tensor:
        asked, asked_mask = data.asked()
        return imagen.sample(text_embeds=asked, text_masks=asked_mask, cond_scale=3.0)

    def save(path: Path) -> None:
        torch.save({"imagen": imagen.state_dict(), "optimizer": optimizer.state_dict()}, path)

    def load(path: Path) -> None:
        kept = torch.load(path, weights_only=True)
        imagen.load_state_dict(kept["imagen"])
        optimizer.load_state_dict(kept["optimizer"])

    learner = Learner(step, draw, save, load)
    learn(output, task, "minimagen", learner, num_pictures=len(images), batch_size=BATCH_SIZE)


if __name__ == "__main__":
    main()
