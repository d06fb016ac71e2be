"""A registered cascade is an MLflow model: it says what it takes, is served as it is, and holds no pickle."""

import base64
import io
import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from PIL import Image

from minimagen.pipeline import Cascade
from minimagen.tracking.registry import CHAMPION, Registry
from tests.small_cascade import CORPUS, write_small_cascade

pytestmark = pytest.mark.long

MODEL = "minimagen-scenes"
CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """A project whose small cascade is champion, to be read only."""
    root = tmp_path_factory.mktemp("registered")
    (root / "mlflow.db").write_bytes(empty_database.read_bytes())
    write_small_cascade(root / "data")
    registry = Registry(root, "scenes")
    registry.promote(registry.register(root / "data").number)
    return root


@pytest.fixture
def tracked(registered: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{registered / 'mlflow.db'}")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", f"sqlite:///{registered / 'mlflow.db'}")
    return registered


def table(*prompts: str) -> pd.DataFrame:
    return pd.DataFrame({"prompt": list(prompts)})


def pixels_of(answer: dict[str, object]) -> np.ndarray:
    picture = Image.open(io.BytesIO(base64.b64decode(str(answer["png_base64"]))))
    assert picture.info == {}
    return np.asarray(picture)


def test_loaded_by_mlflow_it_draws_what_the_cascade_draws(tracked: Path) -> None:
    import mlflow.pyfunc

    model = mlflow.pyfunc.load_model(f"models:/{MODEL}@{CHAMPION}")
    answers = model.predict(table(*CORPUS), params={"seed": 3, "num_images": 2, "steps": 2})

    assert [(one["prompt"], one["number"], one["stage"]) for one in answers] == [
        (caption, number, stage) for caption in CORPUS for number in (0, 1) for stage in ("base", "super")
    ]
    drawn = Cascade.load(tracked / "data").sample([CORPUS[1]], seed=3, num_per_caption=1).pixels
    plain = model.predict(table(CORPUS[1]), params={"seed": 3})
    for answer in plain:
        difference = pixels_of(answer).astype(int) - drawn[answer["stage"]][0].astype(int)
        assert np.abs(difference).max() <= 1  # rounding of the last bit


def test_it_says_what_it_takes_and_gives_an_example(tracked: Path) -> None:
    import mlflow.pyfunc
    from mlflow.models import Model

    folder = Registry(tracked, "scenes").locate(CHAMPION)
    card = Model.load(folder)

    assert card.signature is not None and card.signature.params is not None
    assert {one.name: one.default for one in card.signature.params.params} == {
        "negative_prompt": "",
        "seed": 0,
        "steps": 0,
        "guidance_scale": 0.0,
        "num_images": 1,
    }
    prompts, params = mlflow.pyfunc.load_model(str(folder)).input_example, card.load_input_example_params(str(folder))
    answers = mlflow.pyfunc.load_model(str(folder)).predict(prompts, params=params)
    assert [one["stage"] for one in answers] == ["base", "super"]
    assert card.signature.outputs is not None
    assert list(answers[0]) == card.signature.outputs.input_names()


def test_what_is_beyond_a_limit_is_refused_by_name(tracked: Path) -> None:
    import mlflow.pyfunc
    from mlflow.exceptions import MlflowException

    model = mlflow.pyfunc.load_model(f"models:/{MODEL}@{CHAMPION}")

    for prompt, params, told in (
        ("x" * 2001, {}, "at most 2000 characters"),
        ("x", {"num_images": 17}, "num_images: "),
        ("x", {"steps": 1001}, "steps: "),
        ("x", {"negative_prompt": "y", "guidance_scale": 1.0}, "no stage has guidance"),
    ):
        with pytest.raises(MlflowException, match=told):
            model.predict(table(prompt), params=params)


def test_its_folder_holds_safetensors_and_texts_and_each_of_its_files_once(tracked: Path) -> None:
    files = [path for path in (tracked / "mlruns").rglob("*") if path.is_file()]

    allowed = {".safetensors", ".json", ".model", ".yaml", ".txt", ".py", ""}
    assert {path.suffix for path in files} <= allowed
    assert {path.name for path in files if path.suffix == ""} == {"MLmodel", "registered_model_meta"}
    assert sum(path.name == "model.safetensors" for path in files) == 3  # two networks and the encoder
    card = next(path for path in files if path.name == "MLmodel").read_text()
    assert str(CHECKOUT) not in card and "pickle" not in card


def test_loading_unpickles_nothing(tracked: Path) -> None:
    program = f"""
import sys
import mlflow.pyfunc
import pandas as pd
seen = []
sys.addaudithook(lambda event, arguments: seen.append(arguments) if event == "pickle.find_class" else None)
model = mlflow.pyfunc.load_model("models:/{MODEL}@{CHAMPION}")
model.predict(pd.DataFrame({{"prompt": ["a frog"]}}))
sys.exit(repr(seen) if seen else 0)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


@pytest.fixture
def served(tracked: Path) -> Iterator[str]:
    """The address of ``mlflow models serve`` for the champion."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{MODEL}@{CHAMPION}", *options]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "PATH": path}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tracked, env=environment)
    assert process.stderr is not None
    said: list[str] = []
    try:
        is_ready = any(said.append(line) or "Uvicorn running on" in line for line in process.stderr)
        assert is_ready, "".join(said)
        yield f"http://127.0.0.1:{port}"
    finally:
        children = psutil.Process(process.pid).children(recursive=True)
        for one in [process, *children]:
            one.terminate()
        psutil.wait_procs(children, timeout=30)
        process.communicate(timeout=30)


def test_mlflow_models_serve_answers_prompts_with_pictures(served: str) -> None:
    body = json.dumps({"inputs": ["a frog"], "params": {"seed": 1, "num_images": 2}}).encode()
    headers = {"Content-Type": "application/json"}

    with urllib.request.urlopen(urllib.request.Request(f"{served}/invocations", body, headers), timeout=60) as answer:
        predictions = json.load(answer)["predictions"]

    assert [pixels_of(one).shape for one in predictions] == [(8, 8, 3), (16, 16, 3)] * 2
    refused = urllib.request.Request(f"{served}/invocations", json.dumps({"inputs": ["x" * 2001]}).encode(), headers)
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(refused, timeout=60)
    told = error.value.read().decode()
    assert error.value.code == 400 and "at most 2000 characters" in told and "Traceback" not in told
