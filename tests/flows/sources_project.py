"""A DVC project whose sources are simulated services: pipeline and parameters are the checkout's, made small.

Imports no pytest, so that the processes that tests start may use it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from ruamel.yaml import YAML

from minimagen.config import load_params
from minimagen.stages.ingest import run_ingest
from scripts.demo_sources import params_of, write_services
from tests.contents import files_below
from tests.flows.orchestra import make_dvc_project
from tests.simulators.anime import Anime
from tests.simulators.conceptual_captions import ConceptualCaptions
from tests.simulators.server import Site
from tests.simulators.tmdb import START, Tmdb
from tests.stages.tiny_project import CHECKOUT

NUM_ROWS = 60
"""Of the table that the source ``manifest`` reads."""


def services() -> tuple[Tmdb, Anime, ConceptualCaptions]:
    """Returns small services."""
    captions = ConceptualCaptions(num_rows={"cc3m_train": 120, "cc12m_train": NUM_ROWS}, slow_s=0.0)
    return Tmdb(num_films=150), Anime(num_titles=60), captions


def write_sources_project(
    root: Path, site: Site, captions: ConceptualCaptions, changes: Mapping[str, Mapping[str, object]] | None = None
) -> Path:
    """Writes service files, parameters and the pipeline, without the source files that it depends on.

    Args:
        changes: of the section of a source.
    """
    root.mkdir(parents=True, exist_ok=True)
    write_services(root, site, captions, num_rows=NUM_ROWS)
    document = params_of(START.isoformat()).model_dump(mode="json")
    for source, changed in (changes or {}).items():
        document["ingest"][source] |= changed
    (root / "params.yaml").write_text(json.dumps(document))
    pipeline = YAML(typ="safe", pure=True).load((CHECKOUT / "dvc.yaml").read_text())
    for stage in pipeline["stages"].values():
        body = stage.get("do", stage)
        body["deps"] = [dep for dep in body["deps"] if not dep.startswith(("minimagen/", "data/assets/"))]
    (root / "dvc.yaml").write_text(json.dumps({"stages": pipeline["stages"]}))
    make_dvc_project(root)
    return root


def environment_of(site: Site, tmdb: Tmdb) -> dict[str, str]:
    """Returns the variables with which the services are asked."""
    host, port = site.address
    return {"MINIMAGEN_ALLOWED_ADDRESSES": f"{host}:{port},127.0.0.1:9", "TMDB_TOKEN": tmdb.token}


def ingest(root: Path, source: str) -> dict[str, str]:
    """Runs the stage itself and returns what it made."""
    run_ingest(load_params(root / "params.yaml"), source, root)
    return raw(root, source)


def raw(root: Path, source: str) -> dict[str, str]:
    """Returns what there is of a source."""
    return files_below(root / "data/raw" / source)


def dvc_repro(root: Path, stage: str) -> str:
    """Lets DVC bring a stage up to date and returns what it and the stage said."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    around = os.environ | {"PATH": path, "PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "-m", "dvc", "repro", "--single-item", stage]
    return subprocess.run(command, cwd=root, env=around, check=True, capture_output=True, text=True).stdout
