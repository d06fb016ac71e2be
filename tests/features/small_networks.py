"""Feature networks as their publishers lay them out, made here: tiny ones with random weights."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel, Dinov2Config, Dinov2Model

from minimagen.features.inception import Inception

SIZE_PX = 28
VOCABULARY = ["<|startoftext|>", "<|endoftext|>", *"abcdefghijklmnopqrstuvwxyz", *(f"{c}</w>" for c in "abcdefghijklm")]


def write_dinov2(folder: Path) -> Dinov2Model:
    """Writes a DINOv2 of 8 features and returns it."""
    model = Dinov2Model(
        Dinov2Config(hidden_size=8, num_hidden_layers=2, num_attention_heads=2, image_size=SIZE_PX, patch_size=7)
    )
    model.save_pretrained(folder)
    _write_preprocessor(folder, resize_px=32, crop_px=SIZE_PX)
    return model.eval()


def write_clip(folder: Path) -> CLIPModel:
    """Writes a CLIP of 6 shared features, with a tokenizer of letters, and returns it."""
    text = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = text | {"image_size": SIZE_PX, "patch_size": 14}
    text |= {"vocab_size": len(VOCABULARY), "max_position_embeddings": 12, "bos_token_id": 0, "eos_token_id": 1}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=6))
    model.save_pretrained(folder)
    _write_preprocessor(folder, resize_px=SIZE_PX, crop_px=SIZE_PX)
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(VOCABULARY)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    tokenizer = {"tokenizer_class": "CLIPTokenizer", "pad_token": "<|endoftext|>", "model_max_length": 12}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer | special))
    return model.eval()


def write_inception(folder: Path, *, num_classes: int) -> Inception:
    """Writes the weights of an Inception-v3, classifier and all, as converters write them, and returns the network."""
    folder.mkdir(parents=True, exist_ok=True)
    network = Inception(is_fid=num_classes == 1008)
    tensors = network.state_dict() | {"fc.weight": torch.zeros(num_classes, 2), "AuxLogits.fc.weight": torch.zeros(1)}
    save_file(tensors, folder / "model.safetensors")
    return network.eval()


def _write_preprocessor(folder: Path, *, resize_px: int, crop_px: int) -> None:
    document = {
        "size": {"shortest_edge": resize_px},
        "crop_size": {"height": crop_px, "width": crop_px},
        "do_center_crop": True,
        "image_mean": [0.4, 0.5, 0.6],
        "image_std": [0.2, 0.25, 0.3],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(document))
