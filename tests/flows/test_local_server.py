from pathlib import Path

import pytest

from flows.local_server import AUTH_FILE, EXPORTS_FILE, announce, announced_settings, open_server, withdraw
from minimagen.errors import UserError


def test_the_string_that_opens_the_server_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    first = open_server(tmp_path, 4200)
    assert open_server(tmp_path, 4300).auth == first.auth
    assert (tmp_path / AUTH_FILE).stat().st_mode & 0o777 == 0o600
    name, _, password = first.auth.partition(":")
    assert name == "minimagen"
    assert len(password) >= 32
    assert open_server(tmp_path / "another", 4200).auth != first.auth


def test_what_is_announced_is_what_a_client_needs(tmp_path: Path) -> None:
    server = open_server(tmp_path, 4321)
    assert announced_settings(tmp_path) == {}
    announce(tmp_path, server)
    assert (tmp_path / EXPORTS_FILE).stat().st_mode & 0o777 == 0o600
    assert announced_settings(tmp_path) == {
        "PREFECT_API_URL": "http://127.0.0.1:4321/api",
        "PREFECT_API_AUTH_STRING": server.auth,
    }
    withdraw(tmp_path)
    withdraw(tmp_path)
    assert announced_settings(tmp_path) == {}


def test_a_password_that_others_may_read_is_refused(tmp_path: Path) -> None:
    announce(tmp_path, open_server(tmp_path, 4321))
    (tmp_path / EXPORTS_FILE).chmod(0o644)
    with pytest.raises(UserError, match="others may read it"):
        announced_settings(tmp_path)


def test_server_listens_to_its_own_pages_alone_and_tells_nobody(tmp_path: Path) -> None:
    settings = open_server(tmp_path, 4321).settings(tmp_path)
    assert settings["PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"] == "http://127.0.0.1:4321,http://localhost:4321"
    assert settings["PREFECT_SERVER_API_AUTH_STRING"] == settings["PREFECT_API_AUTH_STRING"]
    assert settings["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert Path(settings["PREFECT_HOME"]).is_relative_to(tmp_path / "runs")
