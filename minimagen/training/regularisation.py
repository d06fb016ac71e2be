"""How hard a network should be kept from learning its training pictures by heart, by how many of them there are.

Knows no network: it only suggests numbers for params.yaml.
"""

from dataclasses import dataclass

NUM_FEW = 20_000
"""With fewer pictures than this, diffusion models are known to give training pictures back."""


@dataclass(frozen=True, slots=True)
class Regularisation:
    """Values of unet.dropout and training.warp_prob."""

    dropout: float
    warp_prob: float


_BY_NUM_PICTURES = (
    (1_000, Regularisation(0.25, 0.15)),
    (NUM_FEW, Regularisation(0.2, 0.15)),
    (500_000, Regularisation(0.1, 0.05)),
)
_FOR_MORE = Regularisation(0.1, 0.0)


def suggest_regularisation(num_pictures: int) -> Regularisation:
    """Returns starting values between those of published trainings.

    Karras et al. 2022, appendix F: dropout 0.25 and augmentation 0.15 for 15,000 pictures, 0.13 and 0.12 for 50,000,
    0.05 and 0.15 for 70,000, 0.1 and none for 1.3 million.
    """
    return next((found for limit, found in _BY_NUM_PICTURES if num_pictures <= limit), _FOR_MORE)


def advice(num_pictures: int, dropout: float) -> str | None:
    """Returns a line for who trains on few pictures without dropout, else None."""
    if dropout > 0.0 or num_pictures >= NUM_FEW:
        return None
    wanted = suggest_regularisation(num_pictures)
    return (
        f"{num_pictures:,} training pictures and no dropout: if the report shows pictures learnt by heart, try "
        f"unet.dropout {wanted.dropout} and unet.hears_warp true with training.warp_prob {wanted.warp_prob}"
    )
