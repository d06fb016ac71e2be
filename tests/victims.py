"""Everything that reads files which may come from others, each given whatever a test likes. Imports no pytest.

A file is replaced as one replaces it who can compute a hash: the seal around it is made anew.
"""

import json
import shutil
from pathlib import Path

import torch

from minimagen.config import load_params
from minimagen.dvc_record import read_outs
from minimagen.embeddings import read_embedding_manifest, read_embeddings
from minimagen.errors import UserError
from minimagen.journal import read_journal
from minimagen.manifest import read_manifest
from minimagen.pipeline import Cascade
from minimagen.saved_model import RECORD_FILE, WEIGHTS_FILE
from minimagen.sealed import MANIFEST, write_sealed
from minimagen.shards import read_table
from minimagen.text.locate import hash_folder, write_record
from minimagen.text.t5 import TextEncoder
from minimagen.tracking.registered_files import verified_files
from minimagen.training.checkpoint import Beside, load_newest, save_state
from tests.small_cascade import write_small_cascade
from tests.training.small import CPU, small_config, small_state


class Victims:
    """Everything that reads files, each with one file replaced by what it is given and sealed anew."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cascade = write_small_cascade(root / "cascade")
        self.encoder = Path(shutil.copytree(self.cascade / "text_encoder", root / "encoder"))
        self.state = small_state(small_config())
        self.saved = save_state(root / "states", self.state, scaler=None, beside=Beside(), device=CPU)
        self.untouched = {path: path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}

    def heal(self) -> None:
        """Puts back what the last file has replaced."""
        for path in sorted(self.root.rglob("*")):
            if path.is_file() and path not in self.untouched:
                path.unlink()
        for path, content in self.untouched.items():
            if not path.exists() or path.read_bytes() != content:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)

    def reseal(self, folder: Path, name: str, content: bytes) -> None:
        """Replaces a file of a sealed folder as one does who can compute a hash."""
        manifest = json.loads((folder / MANIFEST).read_bytes())
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != MANIFEST} | {name: content}
        facts = {key: value for key, value in manifest.items() if key not in ("files", "manifest_sha256")}
        write_sealed(folder, files.items(), facts)

    def model(self, content: bytes) -> None:
        """Loads a cascade whose base has these weights."""
        self.reseal(self.cascade / "models/base", WEIGHTS_FILE, content)
        Cascade.load(self.cascade)

    def registered(self, content: bytes) -> None:
        """Does what a registration does first, with these weights."""
        self.reseal(self.cascade / "models/super", WEIGHTS_FILE, content)
        verified_files(self.cascade)

    def model_record(self, content: bytes) -> None:
        """Loads a cascade whose base is described so."""
        self.reseal(self.cascade / "models/base", RECORD_FILE, content)
        Cascade.load(self.cascade)

    def model_manifest(self, content: bytes) -> None:
        """Loads a cascade whose base is sealed so."""
        (self.cascade / "models/base" / MANIFEST).write_bytes(content)
        Cascade.load(self.cascade)

    def cascade_file(self, content: bytes) -> None:
        """Loads a cascade that is described so."""
        (self.cascade / "cascade.json").write_bytes(content)
        Cascade.load(self.cascade)

    def weights(self, content: bytes) -> None:
        """Goes on from a state with these weights."""
        self.resume("weights.safetensors", content)

    def moments(self, content: bytes) -> None:
        """Goes on from a state with these moments."""
        self.resume("moments1.safetensors", content)

    def state_record(self, content: bytes) -> None:
        """Goes on from a state that is described so."""
        self.resume("state.json", content)

    def resume(self, name: str, content: bytes) -> None:
        """Goes on from a state; a refusal has to leave the training as it was."""
        self.reseal(self.saved, name, content)
        before = [parameter.detach().clone() for parameter in self.state.network.parameters()]
        try:
            load_newest(self.saved.parent, self.state, scaler=None, device=CPU)
        finally:
            after = self.state.network.parameters()
            assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True)), name

    def stored_encoder(self, content: bytes) -> None:
        """Loads a text encoder with these weights."""
        (self.encoder / "model.safetensors").write_bytes(content)
        self.open_encoder()

    def torch_encoder(self, content: bytes) -> None:
        """Loads a text encoder with these weights in the old format of torch."""
        (self.encoder / "model.safetensors").unlink()
        (self.encoder / "pytorch_model.bin").write_bytes(content)
        self.open_encoder()

    def open_encoder(self) -> None:
        """Loads the text encoder, its record made anew."""
        write_record(self.encoder, hash_folder(self.encoder, "tiny", None, "stored"))
        TextEncoder.from_stage(self.encoder, device="cpu")

    def encoder_config(self, content: bytes) -> None:
        """Loads a text encoder that is described so."""
        (self.encoder / "config.json").write_bytes(content)
        self.open_encoder()

    def encoder_record(self, content: bytes) -> None:
        """Loads a text encoder that was recorded so."""
        (self.encoder / "encoder.json").write_bytes(content)
        TextEncoder.from_stage(self.encoder, device="cpu")

    def embeddings(self, content: bytes) -> None:
        """Reads embeddings."""
        read_embeddings(self.written("shard.safetensors", content))

    def embedding_manifest(self, content: bytes) -> None:
        """Reads what a folder of embeddings says it holds."""
        read_embedding_manifest(self.written("manifest.json", content).parent)

    def shard(self, content: bytes) -> None:
        """Reads a shard."""
        read_table(self.written("shard.parquet", content))

    def shard_manifest(self, content: bytes) -> None:
        """Reads what a folder of shards says it holds."""
        read_manifest(self.written("manifest.json", content).parent)

    def journal(self, content: bytes) -> None:
        """Reads a journal of these lines."""
        list(read_journal(self.written("journal.jsonl", content + b"\n" + content + b"\n{}\n")))
        raise UserError("every line of it was torn: nothing was read")

    def params(self, content: bytes) -> None:
        """Reads parameters."""
        load_params(self.written("params.yaml", content))

    def lock(self, content: bytes) -> None:
        """Reads what DVC recorded."""
        read_outs(self.written("dvc.lock", content).parent)

    def written(self, name: str, content: bytes) -> Path:
        """Writes a file that nothing is around."""
        path = self.root / "loose" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path
