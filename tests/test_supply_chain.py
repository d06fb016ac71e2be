"""What is installed is what was locked, by hash, and no version with a known hole."""

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

FLOORS = {
    "dvc": "3.67",
    "mlflow": "3.17",
    "pillow": "12.3",
    "safetensors": "0.8",
    "torch": "2.10",
    "transformers": "5",
}
HOLES = {
    "fastapi": ("0.151.0", "0.165.0"),
    "mlflow": ("3.9.0", "3.10.1", "3.11.0"),
    "pillow": ("12.2.0",),
    "prefect": ("3.6.13", "3.6.21", "3.9.1"),
    "safetensors": ("0.7.0",),
    "torch": ("2.5.1", "2.9.1"),
    "transformers": ("4.57.0",),
}
"""Versions that pyproject.toml may not allow: with a known hole, or with which a server does not start."""
LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)(.*)$")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def locked(checkout: Path) -> list[tuple[str, str, str]]:
    """Returns name, version and the rest of each entry of the lock."""
    text = (checkout / "requirements.lock").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    entries = [LOCKED.match(line) for line in lines]
    assert all(entries), [line for line, entry in zip(lines, entries, strict=True) if entry is None]
    return [(entry[1], entry[2], entry[3]) for entry in entries if entry is not None]


def test_every_locked_requirement_has_a_hash_and_torch_alone_is_not_locked(checkout: Path) -> None:
    entries = locked(checkout)
    assert len(entries) > 200
    assert [name for name, _, rest in entries if not HASH.search(rest)] == []
    assert [name for name, _, rest in entries if re.sub(HASH, "", rest).partition(";")[0].strip()] == []
    names = {canonicalize_name(name) for name, _, _ in entries}
    project = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]
    extras = {name: extra for name, extra in project["optional-dependencies"].items() if name != "docs"}
    wanted = [*project["dependencies"], *(one for extra in extras.values() for one in extra)]
    assert {canonicalize_name(Requirement(one).name) for one in wanted} - names == {"torch"}


def test_what_make_docs_installs_is_pinned_by_hash_too(checkout: Path) -> None:
    lines = (checkout / "scripts/api_docs.txt").read_text().splitlines()
    entries = [line for line in lines if not line.startswith("#")]
    assert all(LOCKED.match(line) and HASH.search(line) for line in entries)
    extra = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]["optional-dependencies"]["docs"]
    assert set(extra) <= {line.split()[0] for line in entries}
    assert "--no-deps --require-hashes -r scripts/api_docs.txt" in (checkout / "Makefile").read_text()


def test_setup_installs_by_hash_and_pins_torch(checkout: Path) -> None:
    makefile = (checkout / "Makefile").read_text()
    assert "--no-deps --require-hashes -r requirements.lock" in makefile
    found = re.search(r"^TORCH := torch==(\S+)$", makefile, re.MULTILINE)
    assert found is not None and Version(found[1]) >= Version(FLOORS["torch"])


@pytest.mark.parametrize("name", FLOORS)
def test_locked_and_installed_are_not_below_the_floor(checkout: Path, name: str) -> None:
    versions = [version for other, version, _ in locked(checkout) if other == name]
    for version in (*versions, importlib.metadata.version(name)):
        assert Version(version) >= Version(FLOORS[name])
    assert versions or name == "torch"


@pytest.mark.parametrize("name", HOLES)
def test_no_version_with_a_known_hole_is_allowed(checkout: Path, name: str) -> None:
    project = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    (requirement,) = [one for texts in lists for one in map(Requirement, texts) if one.name == name]
    assert [version for version in HOLES[name] if requirement.specifier.contains(version)] == []


def test_bill_of_materials_lists_what_is_locked(checkout: Path) -> None:
    command = [sys.executable, str(checkout / "scripts/sbom.py"), "torch==2.13.0"]
    said = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True).stdout
    bill = json.loads(said)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    parts = {(part["name"], part["version"]): part for part in bill["components"]}
    assert parts.keys() == {(name, version) for name, version, _ in locked(checkout)} | {("torch", "2.13.0")}
    assert parts["mlflow", parts_version(bill, "mlflow")]["purl"].startswith("pkg:pypi/mlflow@3.")
    assert all(len(part["hashes"]) >= 1 for part in bill["components"] if part["name"] != "torch")
    assert said == subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True).stdout


def parts_version(bill: dict[str, list[dict[str, str]]], name: str) -> str:
    (version,) = [part["version"] for part in bill["components"] if part["name"] == name]
    return version
