import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import T5Config, T5EncoderModel

from minimagen.config import ConfigError
from minimagen.text.t5 import TextEncoder
from tests.text.builders import CORPUS, make_encoder

OFFLINE_PROGRAM = """
import sys
def refuse(event, _):
    if event in ("socket.connect", "socket.getaddrinfo"):
        sys.exit(f"network: {event}")
sys.addaudithook(refuse)
from pathlib import Path
from minimagen.text.t5 import TextEncoder
encoder = TextEncoder.load(sys.argv[1], None, device="cpu")
print(len(encoder.encode(["a frog"], max_length=8, batch_tokens=16, precision="fp32")[0]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> TextEncoder:
    return TextEncoder.from_stage(folder, device="cpu")


def copy_tokenizer(source: Path, target: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (target / name).write_bytes((source / name).read_bytes())


def make_gated(folder: Path, source: Path) -> Path:
    """Writes a random encoder of the v1.1 architecture (gated GELU), larger than it has to be for stable numbers."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = T5Config(vocab_size=600, d_model=32, d_kv=8, d_ff=64, num_layers=3, num_heads=4)
        config.feed_forward_proj, config.dense_act_fn, config.is_gated_act = "gated-gelu", "gelu_new", True
        T5EncoderModel(config).save_pretrained(folder)
    copy_tokenizer(source, folder)
    return folder


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 0.05)])
def test_a_caption_encoded_in_a_batch_equals_the_caption_encoded_alone(encoder: TextEncoder, precision, tolerance):
    captions = [*CORPUS, "", "frog", "a zebra " * 20]

    batched = encoder.encode(captions, max_length=64, batch_tokens=400, precision=precision)

    for caption, vectors in zip(captions, batched, strict=True):
        (alone,) = encoder.encode([caption], max_length=64, batch_tokens=400, precision=precision)
        np.testing.assert_allclose(vectors, alone, rtol=0, atol=tolerance)


def test_padding_does_not_leak_into_a_gated_encoder_either(tmp_path: Path, folder: Path):
    encoder = TextEncoder.load(str(make_gated(tmp_path, folder)), None, device="cpu")

    short, _ = encoder.encode(["frog", "a frog " * 15], max_length=32, batch_tokens=256, precision="fp32")

    (alone,) = encoder.encode(["frog"], max_length=32, batch_tokens=256, precision="fp32")
    np.testing.assert_allclose(short, alone, rtol=0, atol=1e-5)


def test_vectors_equal_those_of_transformers(encoder: TextEncoder, folder: Path):
    ids = torch.tensor([encoder._tokenize([CORPUS[0]], None)[0]])
    expected = T5EncoderModel.from_pretrained(folder)(input_ids=ids).last_hidden_state[0].detach().numpy()

    (found,) = encoder.encode([CORPUS[0]], max_length=64, batch_tokens=64, precision="fp32")

    # Vectors of unit variance; attention with and without a mask rounds differently.
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-6)


def test_bf16_is_near_fp32(encoder: TextEncoder):
    fp32, bf16 = (
        encoder.encode(CORPUS, max_length=64, batch_tokens=64, precision=precision) for precision in ("fp32", "bf16")
    )

    assert bf16[0].dtype == np.float32
    np.testing.assert_allclose(np.concatenate(bf16), np.concatenate(fp32), rtol=0, atol=0.1)


def test_a_long_caption_is_cut_and_keeps_its_end_token(encoder: TextEncoder):
    (whole,) = encoder.encode(["frog " * 9], max_length=64, batch_tokens=64, precision="fp32")
    (cut,) = encoder.encode(["frog " * 9], max_length=4, batch_tokens=64, precision="fp32")

    (expected,) = encoder.encode(["frog " * 3], max_length=4, batch_tokens=64, precision="fp32")
    assert (len(whole), encoder.count_tokens(["frog " * 9])) == (10, [10])
    np.testing.assert_array_equal(cut, expected)


def test_threads_that_share_an_encoder_get_what_each_would_get_alone(encoder: TextEncoder):
    def encode(max_length: int) -> list[bytes]:
        captions = [f"{caption} {number}" for number in range(50) for caption in CORPUS]
        assert max(encoder.count_tokens(captions)) > 8
        vectors = encoder.encode(captions, max_length=max_length, batch_tokens=512, precision="fp32")
        return [each.tobytes() for each in vectors]

    lengths = [4, 8, 64] * 4
    alone = {length: encode(length) for length in set(lengths)}
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(encode, lengths)) == [alone[length] for length in lengths]


def test_an_empty_caption_is_its_end_token(encoder: TextEncoder):
    (vectors,) = encoder.encode([""], max_length=1, batch_tokens=1, precision="fp32")

    assert vectors.shape == (1, encoder.text_dim)


def test_nothing_is_made_of_no_captions(encoder: TextEncoder):
    assert encoder.encode([], max_length=4, batch_tokens=16, precision="fp32") == []


def test_results_stand_in_the_order_of_the_captions(encoder: TextEncoder):
    captions = ["frog", "a banana on a blue background", "", "a frog"]

    vectors = encoder.encode(captions, max_length=64, batch_tokens=3, precision="fp32")

    assert [len(rows) for rows in vectors] == [2, 7, 1, 3]


def test_a_batch_holds_no_more_padded_tokens_than_it_may(encoder: TextEncoder):
    shapes: list[torch.Size] = []
    handle = encoder._model.register_forward_pre_hook(
        lambda _module, _args, inputs: shapes.append(inputs["input_ids"].shape), with_kwargs=True
    )

    encoder.encode(["frog " * (index + 1) for index in range(9)], max_length=64, batch_tokens=20, precision="fp32")
    handle.remove()

    assert sum(shape[0] for shape in shapes) == 9
    assert max(shape.numel() for shape in shapes) <= 20


def test_a_caption_that_occurs_twice_is_encoded_once(encoder: TextEncoder):
    first, _, again = encoder.encode(["frog", "apple", "frog"], max_length=8, batch_tokens=64, precision="fp32")

    assert first is again


def test_a_caption_that_spells_control_tokens_keeps_all_its_vectors(encoder: TextEncoder):
    caption = "frog <pad> </s> <pad>"

    (vectors,) = encoder.encode([caption], max_length=64, batch_tokens=64, precision="fp32")

    assert [len(vectors)] == encoder.count_tokens([caption])


def test_an_encoder_that_overflows_is_named_with_the_caption(tmp_path: Path, folder: Path):
    encoder = TextEncoder.load(str(make_gated(tmp_path, folder)), None, device="cpu")
    encoder._model.get_parameter("encoder.final_layer_norm.weight").fill_(float("inf"))

    with pytest.raises(ValueError, match=r"not finite on caption 'a frog'"):
        encoder.encode(["a frog"], max_length=8, batch_tokens=64, precision="fp32")


def test_weights_that_are_missing_are_an_error_and_not_drawn_at_random(tmp_path: Path, folder: Path):
    make_gated(tmp_path, folder)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["encoder.block.1.layer.0.SelfAttention.q.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})

    with pytest.raises(ValueError, match=r"missing.*block\.1"):
        TextEncoder.load(str(tmp_path), None, device="cpu")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_become_fp32(tmp_path: Path, folder: Path, dtype: torch.dtype):
    make_gated(tmp_path, folder)
    weights = {name: tensor.to(dtype) for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})

    encoder = TextEncoder.load(str(tmp_path), None, device="cpu")

    assert {parameter.dtype for parameter in encoder._model.parameters()} == {torch.float32}


def test_a_folder_with_spiece_model_alone_gives_the_same_tokens(tmp_path: Path, folder: Path, encoder: TextEncoder):
    for name in ("config.json", "model.safetensors", "spiece.model"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())

    found = TextEncoder.load(str(tmp_path), None, device="cpu")._tokenize([*CORPUS, ""], None)

    assert found == encoder._tokenize([*CORPUS, ""], None)


def test_weights_as_a_torch_archive_load_too(tmp_path: Path, folder: Path, encoder: TextEncoder):
    for name in ("config.json", "spiece.model"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    torch.save(load_file(folder / "model.safetensors"), tmp_path / "pytorch_model.bin")

    loaded = TextEncoder.load(str(tmp_path), None, device="cpu")

    expected, found = (
        one.encode(["a frog"], max_length=8, batch_tokens=16, precision="fp32")[0] for one in (encoder, loaded)
    )
    np.testing.assert_array_equal(found, expected)


def test_tiny_is_not_loaded_by_name():
    with pytest.raises(ConfigError, match="stage text-encoder"):
        TextEncoder.load("tiny", None, device="cpu")


def test_neither_import_nor_a_local_folder_touches_the_network(folder: Path):
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", OFFLINE_PROGRAM, str(folder)],
        env=environment,
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "3\n", "")
