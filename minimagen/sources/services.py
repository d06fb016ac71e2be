"""Service files: where a service answers and how fast it may be asked. Facts of hosts, which change no shard.

Each is what a remote source reads (``sources`` in params.yaml); a mirror, or a simulator, is another such file.
"""

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field, StringConstraints

from minimagen.config import ConfigError, Section, read_section, read_yaml
from minimagen.config.params import validate_section

Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*[^\s?#/])?$")]
"""An http or https address without name and password, without query and without a slash at its end."""
ServiceT = TypeVar("ServiceT", bound=Section)
HOSTS_FILE = "hosts.yaml"
"""What stands beside a table of the user's in a folder of their own, where the defaults for hosts do not suit."""


class Endpoint(Section):
    """One API."""

    url: Url
    requests_per_s: float = Field(gt=0.0)
    """Requests a second, at most, whatever the number of processes on this machine."""
    in_flight: int = Field(ge=1)
    """Unanswered requests at a time, at most."""


class ImageHosts(Section):
    """Hosts of pictures; the limits hold for each host unless they say otherwise."""

    requests_per_s: float = Field(default=4.0, gt=0.0)
    """Requests a second, at most, whatever the number of processes on this machine."""
    per_host: int = Field(default=4, ge=1)
    """Unanswered requests at a time, at most."""
    in_flight: int = Field(default=64, ge=1)
    """Unanswered requests at a time to all hosts together, at most."""
    robots: bool = True
    """Ask robots.txt first, and leave out what it disallows."""
    deadline_s: float = Field(default=30.0, gt=0.0)
    """Seconds for one attempt at one picture, at most."""
    idle_s: float = Field(default=10.0, gt=0.0)
    """Seconds without a byte, at most."""
    attempts: int = Field(default=3, ge=1)
    """Tries of a picture whose host fails for the moment."""
    max_wait_s: float = Field(default=300.0, gt=0.0)
    """A host that asks for a longer pause is left alone: its pictures stay pending."""


class TmdbServices(Section):
    """What the source ``tmdb`` reads."""

    api: Endpoint
    exports: Endpoint
    images: ImageHosts


class AnimeServices(Section):
    """What the source ``anime`` reads."""

    kitsu: Endpoint
    animechan: Endpoint
    images: ImageHosts


class TsvAddresses(Section):
    """Where the original lists of Conceptual Captions stand."""

    cc3m_train: Url
    cc3m_validation: Url
    cc12m_train: Url


class ConceptualCaptionsServices(Section):
    """What the source ``conceptual_captions`` reads, unless it reads a table that the user has."""

    hub: Endpoint
    tsv: TsvAddresses
    images: ImageHosts


class TableServices(Section):
    """What ``hosts.yaml`` says."""

    images: ImageHosts


def read_services(path: Path, kind: type[ServiceT]) -> ServiceT:
    """Reads a service file.

    Raises:
        ConfigError: it is missing, is not YAML, or a value is wrong; one line per problem with file, key and value.
    """
    return read_section(path, kind)


def read_image_hosts(path: Path) -> ImageHosts:
    """Reads what any service file says of hosts of pictures, its section ``images``; a table says nothing of them.

    Args:
        path: a service file, a table, or the folder of a table.

    Raises:
        ConfigError: it is missing, is not YAML, or a value is wrong; one line per problem with file, key and value.
    """
    if path.is_dir():
        return read_services(path / HOSTS_FILE, TableServices).images
    if not _is_service_file(path):
        return ImageHosts()
    document = read_yaml(path)
    return validate_section(document.get("images") if isinstance(document, dict) else None, path, ImageHosts)


def table_of(path: Path) -> Path:
    """Returns the table that a source's path is or, being a folder, holds beside ``hosts.yaml``.

    A service file that names the table would not do: DVC sees changes of the path itself, and of what is in it.

    Raises:
        ConfigError: the path is a service file, or a folder without a table or with several files that may be it.
    """
    if _is_service_file(path):
        raise ConfigError(f"{path}: is YAML, expected a table, or a folder that holds it and {HOSTS_FILE}")
    if not path.is_dir():
        return path
    names = sorted(entry.name for entry in path.iterdir() if entry.name != HOSTS_FILE and entry.name[0] != ".")
    if len(names) != 1:
        raise ConfigError(f"{path}: holds {', '.join(names) or 'nothing'}, expected one table, and {HOSTS_FILE}")
    return path / names[0]


def _is_service_file(path: Path) -> bool:
    return path.suffix.lower() in (".yaml", ".yml")
