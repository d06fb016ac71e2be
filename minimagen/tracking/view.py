"""How MLflow's pages open: the table that compares cascades and the charts that compare trainings, without a click.

MLflow keeps a shared view in a tag of the experiment; its address names the view. Knows MLflow's names, not its client.
"""

import json
from collections.abc import Sequence

CASCADE_TAG = "minimagen.cascade"
STAGE_TAG = "minimagen.stage"
COMPARE_VIEW = "compare"
_VIEW_PREFIX = "mlflow.sharedViewState."


def view_tags(columns: Sequence[str]) -> dict[str, str]:
    """Returns the tags of an experiment that hold its views.

    Args:
        columns: of the table, as in "metrics.alignment.joint" or "params.base.dim"; the first one sorts it.
    """
    quoted = [_quote(column) for column in columns]
    compare = {
        "selectedColumns": quoted,
        "orderByKey": quoted[0],
        "orderByAsc": False,
        "searchFilter": f"tags.`{CASCADE_TAG}` LIKE '%'",
    }
    # Sorted by name because MLflow shows parents instead of trainings when it sorts by time.
    curves = {
        "searchFilter": f"tags.`{STAGE_TAG}` = 'train'",
        "orderByKey": "tags.`mlflow.runName`",
        "orderByAsc": True,
    }
    return {
        _VIEW_PREFIX + COMPARE_VIEW: json.dumps(compare),
        _VIEW_PREFIX + "curves": json.dumps(curves),
        "mlflow.experimentKind": "custom_model_development",
    }


def has_views(tags: Sequence[str]) -> bool:
    """Returns whether an experiment with these tags has views of ours."""
    return _VIEW_PREFIX + COMPARE_VIEW in tags


def compare_url(base_url: str, experiment_id: str) -> str:
    """Returns the address of the table that compares the cascades of an experiment."""
    return _url(base_url, experiment_id, f"viewStateShareKey={COMPARE_VIEW}")


def curves_url(base_url: str, experiment_id: str) -> str:
    """Returns the address of the charts that compare the trainings of an experiment."""
    return _url(base_url, experiment_id, "viewStateShareKey=curves&compareRunsMode=CHART")


def _url(base_url: str, experiment_id: str, query: str) -> str:
    return f"{base_url}#/experiments/{experiment_id}/runs?{query}&workflowType=machine_learning"


def _quote(column: str) -> str:
    kind, name = column.split(".", 1)
    return f"{kind}.`{name}`"
