"""Scrapes all four remote sources from simulated services on this machine, and trains a small cascade on the result.

    make demo-sources

Works in runs/demo-sources, a project of its own: params.yaml and data/ of the checkout stay as they are. Run again, it
asks the services for nothing; with ``--days 30`` a month has passed, and it asks for what is new.
"""

import argparse
import csv
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from minimagen.config import Params, validate_params
from minimagen.experiments import load_experiment
from minimagen.files import write_json
from tests.simulators.anime import Anime
from tests.simulators.conceptual_captions import ConceptualCaptions
from tests.simulators.server import Site, running_site
from tests.simulators.tmdb import START, Tmdb

ROOT = Path(__file__).parents[1]
PROJECT = ROOT / "runs" / "demo-sources"
PORT = 8791
SECTIONS = {
    "tmdb": "movies",
    "anime": "anime",
    "conceptual_captions": "conceptual-captions",
    "manifest": "own-urls",
}
"""The experiment that has the section of each source."""
CHANGES: Mapping[str, Mapping[str, object]] = {
    "tmdb": {"i_have_written_permission": True, "max_films": 300, "min_votes": 50, "poster_size": "w154"},
    "anime": {"max_titles": 300, "subtypes": [], "poster_size": "tiny"},
    "conceptual_captions": {"max_rows": 400},
    "manifest": {},
}
NUM_ROWS = 300
"""Of the table of addresses."""


def main() -> None:
    """Runs the services and the pipeline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=0, help="days that have passed since the first snapshot")
    parser.add_argument("--port", type=int, default=PORT, help="where the services answer")
    options = parser.parse_args()
    tmdb = Tmdb(num_films=600)
    tmdb.advance(options.days)
    captions = ConceptualCaptions(num_rows={"cc3m_train": 2_000, "cc12m_train": NUM_ROWS}, slow_s=0.5)
    with running_site(tmdb, Anime(num_titles=300 + options.days), captions, port=options.port) as site:
        _prepare(site, captions, snapshot=(START + timedelta(days=options.days)).isoformat())
        code = subprocess.run(["dvc", "repro"], cwd=PROJECT, env=_environment(site, tmdb), check=False).returncode
        _tell(site)
    sys.exit(code)


def _prepare(site: Site, captions: ConceptualCaptions, *, snapshot: str) -> None:
    """Makes the project: pipeline and source files as they are here, parameters and service files of its own."""
    PROJECT.mkdir(parents=True, exist_ok=True)
    for name in ("minimagen", "data/assets"):
        shutil.copytree(ROOT / name, PROJECT / name, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "dvc.yaml", PROJECT)
    if not (PROJECT / ".dvc").exists():
        subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet", "--no-scm"], cwd=PROJECT, check=True)
    write_services(PROJECT, site, captions, num_rows=NUM_ROWS)
    write_json(PROJECT / "params.yaml", params_of(snapshot).model_dump(mode="json"))


def write_services(project: Path, site: Site, captions: ConceptualCaptions, *, num_rows: int) -> None:
    """Writes what the sources read: service files, and a table of ``num_rows`` addresses and captions."""
    for name, document in _services(site).items():
        write_json(project / name, document)
    with (project / "table/table.csv").open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(("url", "caption"))
        for number in range(num_rows):
            rows.writerow((captions.url("cc12m_train", number, site.url), captions.alt("cc12m_train", number).caption))


def _services(site: Site) -> dict[str, object]:
    api = {"requests_per_s": 200, "in_flight": 8}
    hosts = {"requests_per_s": 500, "per_host": 16, "in_flight": 16, "robots": True, "deadline_s": 5, "attempts": 2}
    tsv = {
        "cc3m_train": f"{site.url}/gcc-data/Train/GCC-training.tsv",
        "cc3m_validation": f"{site.url}/gcc-data/Validation/GCC-1.1.0-Validation.tsv",
        "cc12m_train": f"{site.url}/conceptual_12m/cc12m.tsv",
    }
    return {
        "tmdb.yaml": {
            "api": {"url": f"{site.url}/3"} | api,
            "exports": {"url": f"{site.url}/p/exports"} | api,
            "images": hosts,
        },
        "anime.yaml": {
            "kitsu": {"url": f"{site.url}/api/edge"} | api,
            "animechan": {"url": f"{site.url}/v1"} | api,
            "images": hosts,
        },
        "conceptual_captions.yaml": {"hub": {"url": site.url} | api, "tsv": tsv, "images": hosts},
        "table/hosts.yaml": {"images": hosts},
    }


def params_of(snapshot: str, *, min_success: float = 0.3) -> Params:
    """Returns the parameters of `own-folder` for the four sources, with networks that learn in minutes."""
    document = load_experiment(ROOT, "own-folder").params.model_dump(mode="json")
    ingest: dict[str, object] = {"snapshot": snapshot}
    for source, experiment in SECTIONS.items():
        section = load_experiment(ROOT, experiment).params.ingest.model_dump(mode="json")[source]
        images = section["images"] | {"store_size": 64, "min_side": 32}
        small = {"shard_rows": 100, "min_success": min_success, "images": images}
        ingest[source] = section | small | CHANGES[source]
    demo = load_experiment(ROOT, "demo").params.model_dump(mode="json")
    for name, num_steps in (("base", 800), ("super", 300)):
        demo["unets"][name]["training"] |= {"num_steps": num_steps, "save_every": 200}
    changed = {
        "sources": {source: f"{source}.yaml" for source in SECTIONS} | {"manifest": "table"},
        "ingest": ingest,
        "unets": demo["unets"],
        "sampling": demo["sampling"],
    }
    return validate_params(document | changed, PROJECT / "params.yaml")


def _environment(site: Site, tmdb: Tmdb) -> dict[str, str]:
    host, port = site.address
    return dict(os.environ) | {
        "MINIMAGEN_ALLOWED_ADDRESSES": f"{host}:{port},127.0.0.1:9",
        "TMDB_TOKEN": tmdb.token,
        "MLFLOW_TRACKING_URI": f"sqlite:///{PROJECT}/mlflow.db",
    }


def _tell(site: Site) -> None:
    asked = Counter(urlsplit(request.path).path.split("/")[1] for request in site.requests)
    by_path = ", ".join(f"{number} of /{path}" for path, number in asked.most_common())
    print(f"\nThe simulated services answered {len(site.requests)} requests{': ' if asked else ''}{by_path}")
    print(f"Report    {PROJECT.relative_to(ROOT)}/data/eval/report.html")


if __name__ == "__main__":
    main()
