"""The calling convention of diffusion: a network's prediction as an estimate of the clean picture.

Knows nothing of how the network is built: it is any callable with the keywords of ``Network``.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from minimagen.diffusion.gaussian import Target, x0_from
from minimagen.diffusion.schedule import NoiseSchedule
from minimagen.shapes import Conditioning, Images, SampleMask, TextEmbeds, TextMask, Timesteps


@runtime_checkable
class Network(Protocol):
    """What predicts: eps, x0 or v from a noisy picture, its time and the conditioning."""

    def __call__(
        self,
        xt: Images,
        t: Timesteps,
        *,
        text_embeds: TextEmbeds,
        text_mask: TextMask,
        is_dropped: SampleMask | None,
        low_res: Images | None,
        low_res_level: Timesteps | None,
    ) -> Images: ...


@dataclass(frozen=True, slots=True)
class Denoiser:
    """D(x_t, t, conditioning) = E[x0 | x_t]: a network together with what it predicts and its noise law."""

    network: Network
    schedule: NoiseSchedule
    target: Target

    def predict(
        self, xt: Images, t: Timesteps, conditioning: Conditioning, is_dropped: SampleMask | None = None
    ) -> Images:
        """Returns the network's own prediction."""
        return self.network(
            xt,
            t,
            text_embeds=conditioning.text_embeds,
            text_mask=conditioning.text_mask,
            is_dropped=is_dropped,
            low_res=conditioning.low_res,
            low_res_level=conditioning.low_res_level,
        )

    def x0(self, xt: Images, t: Timesteps, conditioning: Conditioning, is_dropped: SampleMask | None = None) -> Images:
        """Returns the estimate of the clean picture, in the precision of ``xt`` and not clamped."""
        prediction = self.predict(xt, t, conditioning, is_dropped).to(xt.dtype)
        return x0_from(self.target, prediction, xt, self.schedule.log_snr(t))
