"""The encoders that are known by name, with their token width: enough to size a network without any file."""

TINY = "tiny"
"""The built-in encoder, made by stage text-encoder."""
TINY_TEXT_DIM = 128
"""Width of its token vectors."""

HUB_TEXT_DIMS = {
    "t5-small": 512,
    "t5-base": 768,
    "t5-large": 1024,
    "t5-3b": 1024,
    "t5-11b": 1024,
    "google/t5-v1_1-small": 512,
    "google/t5-v1_1-base": 768,
    "google/t5-v1_1-large": 1024,
    "google/t5-v1_1-xl": 2048,
    "google/t5-v1_1-xxl": 4096,
}
"""Published T5 encoders and the width of their token vectors."""

ALIASES = (
    {f"t5_{size}": f"t5-{size}" for size in ("small", "base", "large", "3b", "11b")}
    | {size: f"t5-{size}" for size in ("small", "base", "large", "3b", "11b")}
    | {f"{size}1.1": f"google/t5-v1_1-{size}" for size in ("small", "base", "large", "xl", "xxl")}
)
"""The original MinImagen's names for them."""
