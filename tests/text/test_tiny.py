from pathlib import Path

import numpy as np
import pytest
from sentencepiece import SentencePieceProcessor
from transformers import AutoTokenizer, T5EncoderModel

from minimagen.files import sha256_file
from minimagen.text.names import TINY_TEXT_DIM
from minimagen.text.t5 import TextEncoder
from minimagen.text.tiny import build_tiny
from tests.text.builders import CORPUS, make_encoder

WORDS = sorted({word for line in CORPUS for word in line.split()})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> TextEncoder:
    return TextEncoder.from_stage(folder, device="cpu")


def encode(encoder: TextEncoder, *captions: str) -> list[np.ndarray]:
    return encoder.encode(captions, max_length=64, batch_tokens=512, precision="fp32")


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_the_same_corpus_gives_the_same_bytes_over_an_older_build_too(tmp_path: Path):
    fresh, rebuilt = tmp_path / "fresh", tmp_path / "rebuilt"
    build_tiny(rebuilt, ["other words"])

    for target in (fresh, rebuilt):
        build_tiny(target, CORPUS)

    names = sorted(path.name for path in fresh.iterdir())
    assert names == ["config.json", "model.safetensors", "spiece.model", "tokenizer.json", "tokenizer_config.json"]
    assert [sha256_file(fresh / name) for name in names] == [sha256_file(rebuilt / name) for name in names]


def test_the_order_of_the_corpus_does_not_matter(tmp_path: Path, folder: Path):
    build_tiny(tmp_path, tuple(reversed(CORPUS)))

    assert sha256_file(tmp_path / "model.safetensors") == sha256_file(folder / "model.safetensors")


def test_every_word_of_the_corpus_is_one_token_whatever_its_case(encoder: TextEncoder):
    counts = encoder.count_tokens([*WORDS, *map(str.upper, WORDS)])

    assert counts == [2] * (2 * len(WORDS))  # the word, the end


def test_unknown_words_are_spelled_and_differ(encoder: TextEncoder):
    zebra, zebu = encode(encoder, "zebra", "zebu")

    assert min(len(zebra), len(zebu)) > 2
    assert len(zebra) != len(zebu) or np.abs(zebra - zebu).max() > 0.1


@pytest.mark.parametrize(
    "text", [*CORPUS, "Zebra-fish, 10% of 2!", "  two   spaces", "caf\u00e9 \u65e5\u672c \ufb01sh", ""]
)
def test_transformers_and_sentencepiece_agree_on_the_tokens(folder: Path, text: str):
    expected = SentencePieceProcessor(model_file=str(folder / "spiece.model")).encode(text)

    assert AutoTokenizer.from_pretrained(folder)(text).input_ids == [*expected, 1]


def test_a_word_keeps_its_vector_when_the_vocabulary_grows(tmp_path: Path, encoder: TextEncoder):
    grown = TextEncoder.from_stage(make_encoder(tmp_path, [*CORPUS, "a walrus"]), device="cpu")

    np.testing.assert_array_equal(encode(grown, CORPUS[0])[0], encode(encoder, CORPUS[0])[0])


def test_token_vectors_have_unit_variance(encoder: TextEncoder):
    tokens = np.concatenate(encode(encoder, *CORPUS))

    assert tokens.shape[1] == TINY_TEXT_DIM
    assert np.sqrt((tokens**2).mean()) == pytest.approx(1.0, abs=0.01)
    assert np.abs(tokens).max() < 10


def test_different_words_have_clearly_different_vectors_in_one_context(encoder: TextEncoder):
    nouns = ["apple", "banana", "frog", "jeans", "zzz"]
    vectors = [tokens[1] for tokens in encode(encoder, *(f"a {noun} on a blue background" for noun in nouns))]

    cosines = [cosine(one, other) for index, one in enumerate(vectors) for other in vectors[:index]]
    assert max(cosines) < 0.8


def test_a_word_is_recognisable_across_contexts(encoder: TextEncoder):
    one, other = encode(encoder, "a frog on a blue background", "a banana to the left of a frog on a pink background")

    assert cosine(one[1], other[7]) > cosine(one[1], other[1]) + 0.2  # frog and frog, frog and banana


def test_the_order_of_words_shows_in_the_vectors(encoder: TextEncoder):
    one, other = encode(encoder, "a banana to the left of a frog", "a frog to the left of a banana")

    assert cosine(one[1], other[7]) < 0.7  # banana in both


def test_what_stands_around_a_word_shows_in_the_same_way_for_every_word(encoder: TextEncoder):
    """What is to be left and what is to be right differs by one direction, so that it is learned once for all words."""
    left_right = [
        encode(encoder, f"a {noun} to the left of a frog", f"a frog to the left of a {noun}")
        for noun in ("banana", "apple", "jeans")
    ]

    directions = [first[1] - second[7] for first, second in left_right]
    others = [cosine(one, other) for index, one in enumerate(directions) for other in directions[:index]]
    assert min(others) > 0.8


def test_each_attention_head_looks_at_its_own_words(folder: Path, encoder: TextEncoder):
    model = T5EncoderModel.from_pretrained(folder, attn_implementation="eager")
    ids = AutoTokenizer.from_pretrained(folder)(CORPUS[1], return_tensors="pt").input_ids

    first_layer = model(ids, output_attentions=True).attentions[0][0]  # (heads, from, to)

    middle = ids.shape[1] // 2
    looked_at = [(-1,), (1,), (-2,), (2,), (-3,), (3,), range(-middle, 0), range(1, ids.shape[1] - middle)]
    for head, offsets in enumerate(looked_at):
        assert first_layer[head, middle, [middle + offset for offset in offsets]].sum() > 0.98
