"""The surroundings of every test: offline, one thread, nothing tracked, nothing written into the checkout."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guards import OFFLINE, Guard

CHECKOUT = Path(__file__).parents[1]
CACHES = tempfile.TemporaryDirectory(prefix="minimagen-tests-")
"""Where libraries keep during the tests what they would keep in the home folder."""

for name in [name for name in os.environ if name.startswith(("MINIMAGEN_", "MLFLOW_", "PREFECT_", "DVC_"))]:
    if name != "MINIMAGEN_TORTURE":  # how hard the tests try (torture.py)
        del os.environ[name]
os.environ |= {
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "MPLBACKEND": "Agg",
    "MINIMAGEN_TRACKING": "off",
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "HF_HOME": f"{CACHES.name}/huggingface",
    "MPLCONFIGDIR": f"{CACHES.name}/matplotlib",
    "PREFECT_HOME": f"{CACHES.name}/prefect",
    "DVC_SITE_CACHE_DIR": f"{CACHES.name}/dvc-site",
    "DVC_GLOBAL_CONFIG_DIR": f"{CACHES.name}/dvc-global",
}

OFFLINE_LOG = Path(CACHES.name) / "refused"
"""What processes that tests started were refused."""
os.environ["OFFLINE_LOG"] = str(OFFLINE_LOG)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(OFFLINE)]))

_GUARD = Guard(CHECKOUT)
_GUARD.is_on = False


def pytest_sessionstart() -> None:
    """Lets the guard listen; an audit hook cannot be taken away again, so it refuses only while a test runs."""
    sys.addaudithook(_GUARD)


def pytest_unconfigure() -> None:
    """Removes what libraries kept."""
    CACHES.cleanup()


@pytest.fixture(autouse=True)
def _nothing_forbidden() -> Iterator[None]:
    """Fails a test that went beyond loopback or wrote into the checkout, even if it swallowed the refusal."""
    _GUARD.refused.clear()
    _GUARD.is_on = True
    yield
    _GUARD.is_on = False
    elsewhere = OFFLINE_LOG.read_text().splitlines() if OFFLINE_LOG.exists() else []
    OFFLINE_LOG.unlink(missing_ok=True)
    if refused := _GUARD.refused + elsewhere:
        pytest.fail("\n".join(refused), pytrace=False)


@pytest.fixture
def guard() -> Guard:
    """The guard in force; clear ``refused`` after a refusal on purpose."""
    return _GUARD


@pytest.fixture
def checkout() -> Path:
    """The root of the checkout, to be read only."""
    return CHECKOUT
