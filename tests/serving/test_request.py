import json

import pytest

from minimagen.serving.request import MAX_PICTURES, MAX_PROMPT_CHARS, RequestError, request_of_body


def body_of(**document: object) -> bytes:
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    "document",
    [
        {"inputs": ["a", "b"]},
        {"inputs": {"prompt": ["a", "b"]}},
        {"inputs": [{"prompt": "a"}, {"prompt": "b"}]},
        {"instances": ["a", "b"]},
        {"instances": [{"prompt": "a"}, {"prompt": "b"}]},
        {"dataframe_records": [{"prompt": "a"}, {"prompt": "b"}]},
        {"dataframe_split": {"columns": ["prompt"], "data": [["a"], ["b"]]}},
    ],
)
def test_every_form_of_the_protocol_says_the_same(document: dict[str, object]) -> None:
    asked = request_of_body(body_of(**document, params={"seed": 3, "guidance_scale": 2}))

    assert asked.prompts == ("a", "b")
    assert (asked.seed, asked.guidance_scale, asked.num_images) == (3, 2.0, 1)


def test_one_prompt_needs_no_list_and_no_params() -> None:
    assert request_of_body(body_of(inputs="a frog")).prompts == ("a frog",)


def test_limits_are_the_last_values_that_pass() -> None:
    asked = request_of_body(body_of(inputs=["x" * MAX_PROMPT_CHARS], params={"num_images": MAX_PICTURES}))

    assert asked.num_images == MAX_PICTURES


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({}, "expected exactly one of inputs"),
        ({"inputs": ["a"], "instances": ["a"]}, "expected exactly one of inputs"),
        ({"inputs": ["a"], "more": 1}, "expected exactly one of inputs"),
        ({"inputs": 3}, "inputs: expected a list of prompts"),
        ({"inputs": {"text": ["a"]}}, "inputs: expected a list of prompts"),
        ({"dataframe_split": {"columns": ["a"], "data": []}}, "dataframe_split: expected columns"),
        ({"dataframe_split": {"columns": ["prompt"], "data": [["a", "b"]]}}, "dataframe_split: expected columns"),
        ({"dataframe_split": "x"}, "dataframe_split: expected columns"),
        ({"inputs": []}, "prompts: "),
        ({"inputs": [3]}, "prompts.0: "),
        ({"inputs": [None]}, "prompts.0: "),
        ({"inputs": ["a"] * 17}, "prompts: "),
        ({"inputs": ["x" * (MAX_PROMPT_CHARS + 1)]}, "prompts.0: String should have at most 2000 characters"),
        ({"inputs": ["a"], "params": []}, "params: expected an object"),
        ({"inputs": ["a"], "params": "x"}, "params: expected an object"),
        ({"inputs": ["a"], "params": {"prompts": ["b"]}}, "params: expected an object"),
        ({"inputs": ["a"], "params": {"steps": 1001}}, "steps: "),
        ({"inputs": ["a"], "params": {"steps": 2.5}}, "steps: "),
        ({"inputs": ["a"], "params": {"seed": -1}}, "seed: "),
        ({"inputs": ["a"], "params": {"seed": "1"}}, "seed: "),
        ({"inputs": ["a"], "params": {"seed": True}}, "seed: "),
        ({"inputs": ["a"], "params": {"guidance_scale": 0.5}}, "guidance_scale lies between"),
        ({"inputs": ["a"], "params": {"guidance_scale": 101}}, "guidance_scale: "),
        ({"inputs": ["a"], "params": {"negative_prompt": "x" * 2001}}, "negative_prompt: "),
        ({"inputs": ["a", "b"], "params": {"num_images": 9}}, "2 prompts x 9 images, at most 16 pictures"),
        ({"inputs": ["a"], "params": {"unknown": 1}}, "unknown: "),
    ],
)
def test_what_is_wrong_is_named_and_not_repeated(document: dict[str, object], told: str) -> None:
    with pytest.raises(RequestError) as error:
        request_of_body(body_of(**document))
    assert told in str(error.value)
    assert "xxxx" not in str(error.value)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff", b"[" * 50_000, b'{"inputs": ["a"], "params": {"seed": NaN}}']
)
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError):
        request_of_body(body)


def test_numbers_that_json_lacks_are_refused() -> None:
    for number in ("NaN", "Infinity", "-Infinity", "1e999"):
        with pytest.raises(RequestError, match=r"guidance_scale|JSON"):
            request_of_body(b'{"inputs": ["a"], "params": {"guidance_scale": %s}}' % number.encode())
