"""MLflow's web application behind our door: what `mlflow server --app-name minimagen` runs (entry point `mlflow.app`).

Told by the environment that ``tracking.server`` sets. Shut is what starts programs, calls other servers or takes files
in: pages that show runs need none of it.
"""

import os
from http import HTTPStatus

from minimagen.tracking.doorkeeper import Application, Doorkeeper, HouseRules

APP_NAME = "minimagen"
TOKEN_VARIABLE, COOKIE_VARIABLE = "MINIMAGEN_UI_TOKEN", "MINIMAGEN_UI_COOKIE"
SHUT = frozenset(
    {
        "assistant",
        "demo",
        "gateway",
        "gateway-proxy",
        "genai",
        "jobs",
        "mcp",
        "mcp-servers",
        "mlflow-artifacts",
        "prompt-optimization",
        "scorer",
        "scorers",
        "upload-artifact",
        "v1",
        "webhooks",
        "workspaces",
    }
)
_LOCATION = ("artifact_location", "artifactLocation")


def create_app() -> Application:
    """Returns MLflow's application with the door before it; called once in each of the server's processes."""
    from flask import abort, request
    from mlflow.server import app as pages
    from mlflow.server.fastapi_app import app as inside

    @pages.before_request
    def refuse_other_places() -> None:
        """An experiment that keeps its files in /etc would show /etc: where files lie is not for a request to say."""
        if not request.path.endswith("/mlflow/experiments/create"):
            return
        told = request.get_json(force=True, silent=True)
        if isinstance(told, dict) and any(told.get(name) for name in _LOCATION):
            abort(HTTPStatus.FORBIDDEN, "artifact_location is not for a request to say")

    @pages.errorhandler(RecursionError)
    def refuse_depth(error: RecursionError) -> tuple[str, HTTPStatus]:
        return f"nested deeper than this server reads: {error}", HTTPStatus.BAD_REQUEST

    rules = HouseRules(
        hosts=frozenset(os.environ["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")),
        origins=frozenset(os.environ["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"].split(",")),
        token=os.environ[TOKEN_VARIABLE],
        cookie=os.environ[COOKIE_VARIABLE],
        shut=SHUT,
    )
    return Doorkeeper(inside, rules)
