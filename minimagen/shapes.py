"""The tensor shapes that public signatures use, as a vocabulary that tests check at run time.

Knows nothing of models, noise or data. A one-axis string starts with a space (jaxtyping's rule for a single name).
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int, UInt8
from numpy import ndarray
from torch import Tensor

Images = Float[Tensor, "batch channels height width"]
"""Pictures in [-1, 1], or noise of their shape."""
PixelImage = UInt8[ndarray, "_ _ 3"]
"""One picture as stored: uint8 RGB."""
PixelImages = UInt8[ndarray, "batch height width 3"]
"""Pictures as stored: uint8 RGB, height and width in pixels."""
ResizedImages = Float[Tensor, "batch channels _ _"]
"""Pictures in [-1, 1] of another size than those beside them."""
FeatureMap = Float[Tensor, "batch _ _ _"]
"""Activations inside a network; width and resolution change from part to part."""
PerSample = Float[Tensor, " batch"]
"""One number for each sample: a weight, a level, a log-SNR."""
SomeSamples = Float[Tensor, " _"]
"""One number for each of some samples of a batch."""
Timesteps = Float[Tensor, " batch"]
"""Diffusion time of each sample, 0 (clean) to 1 (noise)."""
TextEmbeds = Float[Tensor, "batch tokens text_dim"]
"""Encoded captions, right-padded to the longest of the batch."""
TextMask = Bool[Tensor, "batch tokens"]
"""True where a token is real, False where it is padding."""
SampleMask = Bool[Tensor, " batch"]
"""A claim about each sample."""
Tokens = Float[Tensor, "batch _ _"]
"""A sequence inside a network."""
HeadTokens = Float[Tensor, "batch heads _ _"]
"""A sequence for each head of an attention."""
TokenMask = Bool[Tensor, "batch _"]
"""True where a token of such a sequence may be attended to."""
Features = Float[Tensor, "*axes features"]
"""Any activations, features last."""
Projected = Float[Tensor, "*axes _"]
"""The same activations with another number of features."""
Vectors = Float[Tensor, "batch _"]
"""One vector for each sample."""
TokenIds = Int[Tensor, "batch tokens"]
"""Tokenizer output, right-padded."""
ResizeMatrix = Float[Tensor, "_ _"]
"""The resizing of one side of a picture, as a matrix."""
Scalar = Float[Tensor, ""]
"""One number."""


@dataclass(frozen=True, slots=True)
class Conditioning:
    """What a denoiser is told beside the noisy image; every tensor has the same batch size.

    ``low_res`` is the previous stage's picture, already resized to this stage's size and already noised to
    ``low_res_level`` (diffusion time in [0, 1]); both are None for the first stage of a cascade.
    """

    text_embeds: TextEmbeds
    text_mask: TextMask
    low_res: Images | None = None
    low_res_level: Timesteps | None = None
