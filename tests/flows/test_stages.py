from pathlib import Path

import pytest
from prefect import flow
from prefect.states import Failed

from flows.reproduce import StageFailed
from flows.stages import is_worth_a_retry, run_stage


@pytest.mark.parametrize(
    ("code", "is_worth_it"), [(-9, True), (75, True), (1, False), (70, False), (74, False), (143, False)]
)
def test_only_a_killed_or_busy_stage_is_worth_another_try(code: int, is_worth_it: bool) -> None:
    error = StageFailed("a", f"failed to reproduce 'a': failed to run: x, exited with {code}")
    assert is_worth_a_retry(None, None, Failed(data=error)) == is_worth_it
    assert not is_worth_a_retry(None, None, Failed(data=ValueError("another one")))


@pytest.mark.usefixtures("prefect_server")
def test_killed_stage_is_started_again(project: Path) -> None:
    command = "test -e tried || { touch tried; kill -9 $$; }; touch done"
    (project / "dvc.yaml").write_text(f"stages: {{fragile: {{cmd: '{command}', outs: [done]}}}}")

    @flow
    def only() -> str | None:
        return run_stage.with_options(retry_delay_seconds=0)("fragile", return_state=True).name

    assert only() == "Ran"
