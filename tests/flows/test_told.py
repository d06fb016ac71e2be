import pytest
from prefect.client.schemas.objects import State, StateType

from flows.told import is_of_input_or_output, is_worth_a_retry, tells_errors, tells_what_no_retry_mends
from minimagen.errors import BusyError, MissingFileError, UnavailableError, UserError
from minimagen.sources.api_answers import ApiError, UnavailableApiError


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError("no space left"), True),
        (TimeoutError("no answer"), True),
        (UnavailableApiError("status 503, 4 times", 503), True),
        (UnavailableError("TMDB: later"), True),
        (ApiError("status 401; the key was refused", 401), False),
        (MissingFileError("params.yaml: no such file"), False),
        (UserError("params.yaml: wrong"), False),
        (ValueError("a defect"), False),
        (None, False),
    ],
)
def test_only_what_a_disk_or_another_machine_did_is_tried_again(error: Exception | None, expected: bool) -> None:
    assert is_of_input_or_output(error) is expected
    assert is_worth_a_retry(None, None, State(type=StateType.FAILED, data=error)) is expected


@pytest.mark.parametrize("kind", [UserError, BusyError, UnavailableError])
def test_what_a_user_can_mend_is_the_message_of_the_state(kind: type[Exception]) -> None:
    @tells_errors
    def run() -> State:
        raise kind("params.yaml: a line")

    state = run()
    assert (state.type, state.message) == (StateType.FAILED, "params.yaml: a line")
    assert isinstance(state.data, kind)


def test_a_defect_is_raised() -> None:
    @tells_errors
    def run() -> None:
        raise ValueError("a defect")

    with pytest.raises(ValueError, match="a defect"):
        run()


def test_a_task_that_is_tried_again_raises_what_a_retry_may_mend() -> None:
    @tells_what_no_retry_mends
    def run(error: Exception) -> State:
        raise error

    with pytest.raises(UnavailableError):
        run(UnavailableError("later"))
    with pytest.raises(OSError, match="disk"):
        run(OSError("disk"))
    assert run(UserError("mend it")).message == "mend it"


def test_a_key_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMDB_TOKEN", "a-canary")

    @tells_errors
    def run() -> State:
        raise UserError("the service said a-canary back")

    assert run().message == "the service said [hidden] back"
