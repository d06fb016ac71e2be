"""What a U-Net is told beside the picture, as a vector for every block and tokens to attend to: times and captions.

Knows nothing of levels and skips, nor of what encoded the caption.
"""

import torch
from einops import rearrange, reduce
from torch import nn

from minimagen.models.layers import SinusoidalEmbedding
from minimagen.shapes import SampleMask, TextEmbeds, TextMask, Timesteps, TokenMask, Tokens, Vectors

NUM_TIME_TOKENS = 2


class TimeConditioner(nn.Module):
    """Turns a diffusion time into a vector for every block and into tokens beside the caption's."""

    def __init__(self, dim: int, *, time_dim: int, cond_dim: int) -> None:
        super().__init__()
        self.to_hidden = nn.Sequential(SinusoidalEmbedding(dim), nn.Linear(dim, time_dim), nn.SiLU())
        self.to_vector = nn.Linear(time_dim, time_dim)
        self.to_tokens = nn.Linear(time_dim, cond_dim * NUM_TIME_TOKENS)

    def forward(self, t: Timesteps) -> tuple[Vectors, Tokens]:
        hidden = self.to_hidden(t)
        return self.to_vector(hidden), rearrange(self.to_tokens(hidden), "b (n c) -> b n c", n=NUM_TIME_TOKENS)


class TextConditioner(nn.Module):
    """Turns an encoded caption into tokens and a pooled vector; a dropped caption becomes learned null tokens."""

    def __init__(self, text_dim: int, *, time_dim: int, cond_dim: int, num_null_tokens: int) -> None:
        super().__init__()
        self.to_tokens = nn.Linear(text_dim, cond_dim)
        self.null_tokens = nn.Parameter(torch.randn(num_null_tokens, cond_dim))
        self.null_vector = nn.Parameter(torch.randn(time_dim))
        self.to_vector = nn.Sequential(
            nn.LayerNorm(cond_dim), nn.Linear(cond_dim, time_dim), nn.SiLU(), nn.Linear(time_dim, time_dim)
        )

    def forward(
        self, text_embeds: TextEmbeds, text_mask: TextMask, is_dropped: SampleMask | None
    ) -> tuple[Vectors, Tokens, TokenMask]:
        tokens, mask = self.to_tokens(text_embeds), text_mask
        if is_dropped is not None:
            tokens, mask = self._replace_dropped(tokens, mask, is_dropped)
        weight = mask.to(tokens.dtype) / reduce(mask, "b n -> b 1", "sum").clamp(min=1)
        vector = self.to_vector(torch.einsum("bnc,bn->bc", tokens, weight))
        if is_dropped is not None:
            vector = torch.where(is_dropped[:, None], self.null_vector.to(vector.dtype), vector)
        return vector, tokens, mask

    def _replace_dropped(self, tokens: Tokens, mask: TokenMask, is_dropped: SampleMask) -> tuple[Tokens, TokenMask]:
        num_null, num_text = len(self.null_tokens), tokens.shape[1]
        length = max(num_null, num_text)
        tokens = nn.functional.pad(tokens, (0, 0, 0, length - num_text))
        mask = nn.functional.pad(mask, (0, length - num_text), value=False)
        null_tokens = nn.functional.pad(self.null_tokens, (0, 0, 0, length - num_null)).to(tokens.dtype)
        null_mask = torch.arange(length, device=mask.device) < num_null
        return (
            torch.where(is_dropped[:, None, None], null_tokens, tokens),
            torch.where(is_dropped[:, None], null_mask, mask),
        )
