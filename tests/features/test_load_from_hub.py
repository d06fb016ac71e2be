"""Feature networks of a loopback hub, in a process of its own (the hub's address is read at import)."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.features.small_networks import write_dinov2
from tests.simulators.hub import running_hub

LOAD = """
import json, sys, torch
from minimagen.features.load import load_features
found = load_features(sys.argv[1], torch.device("cpu"))
shape = list(found.of_pictures(torch.zeros(2, 3, 8, 8)).shape)
print(json.dumps([found.identity.name, found.identity.revision, shape]))
"""


def test_a_tag_becomes_its_commit_and_only_what_is_needed_is_fetched(tmp_path: Path) -> None:
    write_dinov2(tmp_path / "model")
    (tmp_path / "model/pytorch_model.bin").write_bytes(b"never opened")
    (tmp_path / "model/modeling.py").write_text("raise SystemExit('never run')")
    with running_hub() as hub:
        commit = hub.publish("acme/dino", tmp_path / "model", branch="v1")
        inherited = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
        loaded = subprocess.run(
            [sys.executable, "-c", LOAD, "acme/dino@v1"],
            env=inherited | {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.url},
            capture_output=True,
            text=True,
            timeout=100,
        )
        fetched = {request.rsplit("/", 1)[1] for request in hub.requests if request.startswith("GET /acme")}

    assert loaded.returncode == 0, loaded.stderr
    assert json.loads(loaded.stdout) == ["acme/dino", commit, [2, 8]]
    assert fetched == {"config.json", "model.safetensors", "preprocessor_config.json"}
