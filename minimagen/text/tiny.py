"""The built-in text encoder: a small T5 encoder with seeded random weights, as an ordinary Hugging Face folder.

It tells words, and places of words, apart but knows no meaning: random features, nothing is learned. Only where each
attention head looks is set: at one of the words around, so that a vector says in a linear way what stands where around
its word, and the order of words is as easy to learn as the words themselves. The vocabulary is
counted from the corpus that the caller passes, so that every word of the corpus is one token; anything else is spelled
from fragments. Does not know whose corpus that is. T5: Raffel et al. 2020; unigram tokens: Kudo 2018.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import save
from sentencepiece import SentencePieceNormalizer
from sentencepiece.sentencepiece_model_pb2 import ModelProto  # pyright: ignore[reportAttributeAccessIssue]
from transformers import T5Config, T5EncoderModel, T5Tokenizer

from minimagen.files import write_atomic
from minimagen.seeding import generator
from minimagen.text.names import TINY_TEXT_DIM

NUM_FRAGMENTS = 1024
"""Word parts in the vocabulary, beside the single characters."""

_NUM_DISTANCES = 16
"""Buckets of distances to each side."""
_SPACE = "\u2581"
_CHARACTERS = "".join(map(chr, (*range(0x21, 0x7F), *range(0xA1, 0x100))))
_CONFIG = {
    "d_model": TINY_TEXT_DIM,
    "d_kv": 16,
    "d_ff": 256,
    "num_layers": 2,
    "num_heads": 8,
    "relative_attention_num_buckets": 2 * _NUM_DISTANCES,
    "feed_forward_proj": "relu",
    "dropout_rate": 0.0,
    "tie_word_embeddings": True,
}
# Standard deviations. The blocks add about what the embedding holds, so a word stays recognisable; queries and keys are
# small beside the position bias, so heads look at places and not at words.
_WEIGHT_STD = {
    "SelfAttention.q": 0.02,
    "SelfAttention.k": 0.02,
    "SelfAttention.v": 0.1,
    "SelfAttention.o": 0.1,
    "DenseReluDense.wi": 0.09,
    "DenseReluDense.wo": 0.04,
}
_HEAD_OFFSETS = (range(-1, 0), range(1, 2), range(-2, -1), range(2, 3), range(-3, -2), range(3, 4),
                 range(1 - _NUM_DISTANCES, 0), range(1, _NUM_DISTANCES))  # fmt: skip
"""The words that each head looks at, counted from its own: one before or behind, or all of one side."""
_POSITION_BIAS = 10.0
"""Of the logits of those words over all others."""


def build_tiny(folder: Path, corpus: Iterable[str]) -> None:
    """Writes config.json, model.safetensors, spiece.model and tokenizer.json, the same bytes for the same corpus.

    Args:
        corpus: lines of text; each of their words becomes one token, whatever its case.
    """
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = _write_tokenizer(folder, corpus)
    config = T5Config(**_CONFIG, vocab_size=len(vocabulary), architectures=["T5EncoderModel"])
    write_atomic(folder / "config.json", config.to_json_string(use_diff=True).encode())
    write_atomic(folder / "model.safetensors", save(_random_weights(config, vocabulary), {"format": "pt"}))


def _write_tokenizer(folder: Path, corpus: Iterable[str]) -> list[str]:
    normalizer = SentencePieceNormalizer(rule_name="nmt_nfkc_cf")
    words = sorted({word for line in corpus for word in normalizer.normalize(line).split(_SPACE) if word})
    model = ModelProto.FromString(normalizer.serialized_model_proto())
    spec = model.trainer_spec
    spec.model_type = spec.UNIGRAM
    spec.pad_id, spec.eos_id, spec.unk_id, spec.bos_id = 0, 1, 2, -1  # T5's; it has no start token.
    kinds = ModelProto.SentencePiece
    for piece, kind in (("<pad>", kinds.CONTROL), ("</s>", kinds.CONTROL), ("<unk>", kinds.UNKNOWN)):
        model.pieces.add(piece=piece, score=0.0, type=kind)
    for piece, score in _scored_pieces(words):
        model.pieces.add(piece=piece, score=score, type=kinds.NORMAL)
    (folder / "tokenizer.json").unlink(missing_ok=True)  # It would be read in place of spiece.model.
    write_atomic(folder / "spiece.model", model.SerializeToString(deterministic=True))
    T5Tokenizer.from_pretrained(folder, extra_ids=0, local_files_only=True).save_pretrained(folder)
    return [piece.piece for piece in model.pieces]


def _scored_pieces(words: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Yields pieces with log scores: a whole word beats any split, fragments beat letters, and there are no ties."""
    whole = [_SPACE + word for word in words]
    taken = set(whole) | set(_CHARACTERS) | {_SPACE}
    fragments = _frequent_fragments(whole, taken)
    characters = sorted({*_CHARACTERS, _SPACE, *"".join(words)} - set(whole))
    for base, pieces in ((-10.0, whole), (-12.0, fragments), (-14.0, characters)):
        yield from ((piece, base - index * 1e-4) for index, piece in enumerate(pieces))


def _frequent_fragments(words: Sequence[str], taken: set[str]) -> list[str]:
    """Returns the parts of words that cover most characters, counted once per word and place."""
    counts = Counter(
        word[start : start + length]
        for word in words
        for length in range(2, 7)
        for start in range(len(word) - length + 1)
        if word[start : start + length] not in taken
    )
    ranked = sorted(counts, key=lambda part: (-counts[part] * len(part), part))
    return ranked[:NUM_FRAGMENTS]


def _random_weights(config: T5Config, vocabulary: Sequence[str]) -> dict[str, torch.Tensor]:
    """Draws uniform weights, which unlike normal ones are the same bits on every processor."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in T5EncoderModel(config).state_dict().items()}
    weights = {
        "shared.weight": torch.stack(
            [_draw(f"piece {piece}", torch.Size([TINY_TEXT_DIM]), 1.0) for piece in vocabulary]
        )
    }
    for name, shape in shapes.items():
        if name.endswith("layer_norm.weight"):
            weights[name] = torch.ones(shape)
        elif name.endswith("relative_attention_bias.weight"):
            weights[name] = _position_bias(shape)
        elif "embed_tokens" not in name and name != "shared.weight":
            weights[name] = _draw(name, shape, _WEIGHT_STD[".".join(name.split(".")[-3:-1])])
    return weights


def _position_bias(shape: torch.Size) -> torch.Tensor:
    """Returns (buckets, heads): a head's bias on each bucket of distances, those ahead after those behind.

    T5 (Raffel et al. 2020, section 2.1): half of the buckets are for words behind, half for words ahead; of each, the
    nearer half hold one distance, the others logarithmically more.
    """
    num_sided = shape[0] // 2
    bias = torch.zeros(shape)
    for head, offsets in enumerate(_HEAD_OFFSETS):
        for offset in offsets:
            bias[abs(offset) + (num_sided if offset > 0 else 0), head] = _POSITION_BIAS
    return bias


def _draw(name: str, shape: torch.Size, std: float) -> torch.Tensor:
    return (torch.rand(shape, generator=generator("tiny encoder", name)) * 2 - 1) * (std * 3**0.5)
