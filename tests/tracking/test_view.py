"""The addresses of views name the tags that hold them."""

import json

from minimagen.tracking.view import compare_url, curves_url, has_views, view_tags


def test_the_table_shows_the_columns_ranked_by_the_first() -> None:
    tags = view_tags(["metrics.alignment.joint", "params.base.dim"])

    view = json.loads(tags["mlflow.sharedViewState.compare"])
    assert view["selectedColumns"] == ["metrics.`alignment.joint`", "params.`base.dim`"]
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`alignment.joint`", False)


def test_addresses_name_views_that_exist() -> None:
    tags = view_tags(["metrics.alignment.joint"])

    assert has_views(list(tags))
    assert not has_views(["data_sha256"])
    for url in (compare_url("http://127.0.0.1:5000/", "7"), curves_url("http://127.0.0.1:5000/", "7")):
        share_key = url.partition("viewStateShareKey=")[2].partition("&")[0]
        assert f"mlflow.sharedViewState.{share_key}" in tags
        assert url.startswith("http://127.0.0.1:5000/#/experiments/7/runs?")
