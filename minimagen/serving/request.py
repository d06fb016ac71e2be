"""What may be asked of a served cascade, and every form that MLflow's scoring protocol gives it. Draws nothing."""

import json
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from minimagen.errors import UserError

MAX_PROMPT_CHARS = 2_000
MAX_PROMPTS = 16
MAX_PICTURES = 16
"""Pictures of one request, all prompts together."""
MAX_STEPS = 1_000
MAX_GUIDANCE = 100.0
MAX_SEED = 2**31 - 1
FORMATS = ("inputs", "instances", "dataframe_records", "dataframe_split")
"""The keys of MLflow's scoring protocol under which prompts come, one of them in a body."""
COLUMN = "prompt"

Prompt = Annotated[str, Field(max_length=MAX_PROMPT_CHARS)]


class RequestError(UserError):
    """A request that is refused; the message says why and repeats nothing of its text."""


class PictureRequest(BaseModel):
    """Prompts and how to draw them; the names are those of the parameters that the served model declares."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    prompts: Annotated[tuple[Prompt, ...], Field(min_length=1, max_length=MAX_PROMPTS)]
    negative_prompt: Annotated[str, Field(max_length=MAX_PROMPT_CHARS)] = ""
    """What to draw away from; empty is nothing."""
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0
    steps: Annotated[int, Field(ge=0, le=MAX_STEPS)] = 0
    """Steps of every stage; 0 is each stage's own number."""
    guidance_scale: Annotated[float, Field(ge=0.0, le=MAX_GUIDANCE, allow_inf_nan=False)] = 0.0
    """Guidance of every stage, from 1, which is none; 0 is each stage's own."""
    num_images: Annotated[int, Field(ge=1, le=MAX_PICTURES)] = 1
    """Pictures per prompt."""

    @model_validator(mode="after")
    def _within_limits(self) -> Self:
        if 0.0 < self.guidance_scale < 1.0:
            raise ValueError("guidance_scale lies between 0 (the trained one) and 1 (none)")
        if len(self.prompts) * self.num_images > MAX_PICTURES:
            raise ValueError(f"{len(self.prompts)} prompts x {self.num_images} images, at most {MAX_PICTURES} pictures")
        return self


def request_of(prompts: object, params: Mapping[str, object]) -> PictureRequest:
    """Returns a checked request.

    Raises:
        RequestError: a value is missing, of another type or beyond its limit; one line per problem.
    """
    try:
        return PictureRequest.model_validate_json(json.dumps({**params, "prompts": prompts}))
    except (TypeError, ValueError) as error:
        raise RequestError(_told(error)) from None


def request_of_body(body: bytes) -> PictureRequest:
    """Reads a request as MLflow's scoring protocol writes it: ``{"inputs": ["a frog"], "params": {"seed": 1}}``.

    Raises:
        RequestError: it is not JSON, or not of that form, or beyond a limit.
    """
    document = json_object(body)
    present = [name for name in FORMATS if name in document]
    unknown = sorted(set(document) - {*FORMATS, "params"})
    if len(present) != 1 or unknown:
        raise RequestError(f"expected exactly one of {', '.join(FORMATS)}, and params")
    params = document.get("params")
    params = {} if params is None else params
    if not isinstance(params, dict) or "prompts" in params:
        raise RequestError("params: expected an object of the model's parameters")
    return request_of(_prompts(present[0], document[present[0]]), params)


def json_object(body: bytes) -> dict[str, object]:
    """Reads a JSON object.

    Raises:
        RequestError: it is none.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestError("the body is not JSON in UTF-8") from None
    if not isinstance(document, dict):
        raise RequestError("the body is not a JSON object")
    return document


def _prompts(kind: str, value: object) -> object:
    """Returns the column of prompts, whichever way the table is written."""
    if kind == "dataframe_split":
        columns, rows = (value.get("columns"), value.get("data")) if isinstance(value, dict) else (None, None)
        is_table = columns == [COLUMN] and isinstance(rows, list)
        if not is_table or not all(isinstance(row, list) and len(row) == 1 for row in rows or []):
            raise RequestError(f"dataframe_split: expected columns [{COLUMN!r}] and rows of one prompt")
        return [row[0] for row in rows or []]
    if isinstance(value, dict):
        value = value.get(COLUMN) if set(value) == {COLUMN} else None
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise RequestError(f"{kind}: expected a list of prompts, or of objects with {COLUMN!r}")
    return [row[COLUMN] if isinstance(row, dict) and set(row) == {COLUMN} else row for row in value]


def _told(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return "a value is of a type that JSON does not have"
    problems = error.errors(include_input=False, include_url=False, include_context=False)
    return "\n".join(f"{'.'.join(map(str, one['loc'])) or 'request'}: {one['msg']}" for one in problems)
