"""The bytes of the Open Inference Protocol v2: what is written is read back, and anything else is a `BadRequest`."""

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.open_inference import BadRequest
from adapters.open_inference.wire import DATATYPES, read_request, write_answer
from runtime import InferenceResult
from tests.runtime.packages import images, make_package

FLOATS = {"name": "x", "shape": [2, 2], "datatype": "FP32"}


def _body(*inputs: dict[str, Any], **others: Any) -> bytes:
    return json.dumps({"inputs": inputs, **others}).encode()


def _result(**outputs: np.ndarray) -> InferenceResult:
    return InferenceResult(outputs, "m", "1", "0" * 64, 1, 0.0, 0.0)


@pytest.mark.parametrize("dtype", DATATYPES)
@pytest.mark.parametrize("binary", [True, False])
def test_every_element_type_comes_through(dtype: str, binary: bool) -> None:
    sent = np.array([[0, 1, 2], [3, 100, 127]], dtype=dtype)
    about: dict[str, Any] = {"name": "x", "shape": [2, 3], "datatype": DATATYPES[dtype]}
    if binary:
        head = _body(about | {"parameters": {"binary_data_size": sent.nbytes}})
        request = read_request(head + sent.tobytes(), str(len(head)))
    else:
        request = read_request(_body(about | {"data": sent.tolist()}), None)
    assert request.inputs["x"].dtype == dtype
    assert np.array_equal(request.inputs["x"], sent)


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2], [3, 4]]], ids=["flat", "nested"])
def test_lists_may_be_flat_or_nested(data: list[Any]) -> None:
    request = read_request(_body(FLOATS | {"data": data}), None)
    assert request.inputs["x"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    "changes",
    [
        {"data": [1, 2, 3]},
        {"data": [[1, 2], [3]]},
        {"data": [[1, 2, 3, 4]]},
        {"data": ["1", "2", "3", "4"]},
        {"data": [True, False, True, False]},
        {"data": [None, 1, 2, 3]},
        {"data": [{}, {}, {}, {}]},
        {"datatype": "BYTES", "data": [1, 2, 3, 4]},
        {"datatype": "UINT8", "data": [1, 2, 3, 256]},
        {"datatype": "UINT8", "data": [1, 2, 3, -1]},
        {"datatype": "INT32", "data": [1, 2, 3, 4.5]},
        {"datatype": "INT64", "data": [1, 2, 3, 10**30]},
        {"shape": [2, -2], "data": [1, 2, 3, 4]},
        {"shape": [1 << 60], "data": [1]},
        {"shape": [1] * 9, "data": [1]},
        {},
        {"parameters": {"binary_data_size": 16}},
        {"parameters": {"binary_data_size": -1}},
        {"parameters": {"binary_data_size": "16"}},
        {"parameters": {"binary_data_size": True}},
    ],
)
def test_an_input_that_is_not_what_it_says_is_refused_without_its_values(changes: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as caught:
        read_request(_body(FLOATS | changes), None)
    assert "256" not in str(caught.value)


@pytest.mark.parametrize("length", ["", "-1", "1e3", "999999", "٣", "9" * 40])
def test_a_length_of_the_json_that_is_none_is_refused(length: str) -> None:
    with pytest.raises(BadRequest):
        read_request(_body(FLOATS | {"data": [1, 2, 3, 4]}), length)


def test_bytes_behind_the_last_tensor_and_two_inputs_of_one_name_are_refused() -> None:
    head = _body(FLOATS | {"data": [1, 2, 3, 4]})
    with pytest.raises(BadRequest, match="follow"):
        read_request(head + b"smuggled", str(len(head)))
    with pytest.raises(BadRequest, match="twice"):
        read_request(_body(FLOATS | {"data": [1, 2, 3, 4]}, FLOATS | {"data": [1, 2, 3, 4]}), None)


@given(st.binary(max_size=300), st.none() | st.integers(0, 300).map(str))
def test_any_bytes_are_a_request_or_refused(body: bytes, length: str | None) -> None:
    with contextlib.suppress(BadRequest):
        read_request(body, length)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*FLOATS, "data"]), inner),
        max_leaves=12,
    )
)
def test_any_json_is_a_request_or_refused(value: Any) -> None:
    for document in (value, {"inputs": value}, {"inputs": [value]}, {"inputs": [FLOATS | {"data": value}]}):
        with contextlib.suppress(BadRequest):
            read_request(json.dumps(document).encode(), None)


def test_deep_json_is_refused() -> None:
    with pytest.raises(BadRequest):
        read_request(b'{"inputs":' + b"[" * 100_000, None)


def test_outputs_are_chosen_and_written_as_asked() -> None:
    result = _result(p=np.array([[0.25, 0.75]], np.float32), q=np.array([[7]], np.int64))
    body = _body(
        FLOATS | {"data": [1, 2, 3, 4]}, id="a-7", outputs=[{"name": "p", "parameters": {"binary_data": True}}]
    )
    content, length = write_answer(read_request(body, None), result)
    head = json.loads(content[:length])
    assert head["id"] == "a-7"
    assert [output["name"] for output in head["outputs"]] == ["p"]
    assert np.frombuffer(content[length:], "<f4").tolist() == [0.25, 0.75]
    content, length = write_answer(read_request(_body(FLOATS | {"data": [1, 2, 3, 4]}), None), result)
    assert length is None
    assert [output["data"] for output in json.loads(content)["outputs"]] == [[0.25, 0.75], [7]]
    asked = read_request(_body(FLOATS | {"data": [1, 2, 3, 4]}, outputs=[{"name": "r"}]), None)
    with pytest.raises(BadRequest, match="no output"):
        write_answer(asked, result)


def test_more_lists_or_values_than_a_batch_has_are_refused_before_they_are_parsed(tmp_path: Path) -> None:
    model = make_package(tmp_path / "tiny")
    full = {"name": "image", "shape": [8, 1, 8, 8], "datatype": "FP32", "data": np.zeros((8, 1, 8, 8)).tolist()}
    assert read_request(_body(full), None, model).inputs["image"].shape == (8, 1, 8, 8)
    for data in ("[" + "[]," * 9000 + "[]]", "[" + "0," * 9000 + "0]", "[" + "{}," * 9000 + "{}]"):
        with pytest.raises(BadRequest, match="more in the body"):
            read_request(b'{"inputs":[{"data":' + data.encode() + b"}]}", None, model)


@pytest.mark.parametrize(
    ("datatype", "data", "expected"),
    [
        ("FP32", [10**20, 0.5, 1, 2], [1e20, 0.5, 1, 2]),
        ("FP64", [10**20, 2**63, -1, 0], [1e20, 2.0**63, -1, 0]),
        ("INT64", [2**63 - 1, -(2**63), 2**53 + 1, 0], [2**63 - 1, -(2**63), 2**53 + 1, 0]),
        ("INT32", [4.0, 1, -2.0, 0], [4, 1, -2, 0]),
    ],
)
def test_a_number_is_taken_as_it_is_written(datatype: str, data: list[Any], expected: list[Any]) -> None:
    """JavaScript writes 1e20 as 100000000000000000000."""
    request = read_request(_body(FLOATS | {"datatype": datatype, "data": data}), None)
    assert request.inputs["x"].ravel().tolist() == [np.float32(one) if datatype == "FP32" else one for one in expected]


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("FP32", [True, 0.5, 1.0, 2.0]),
        ("FP32", [[0.5, 0.5], [0.5, False]]),
        ("INT32", [1, True, 2, 3]),
        ("FP64", [10**400, 0.5, 1, 2]),
        ("FP32", [None, 0.5, 1, 2]),
        ("FP32", [0.5, "1", 1, 2]),
        ("FP32", [[[[[[[[[[0.5]]]]]]]]]]),
        ("INT64", [2**63, 0, 0, 0]),
        ("INT64", [2**53 + 1, 1.0, 0, 0]),
        ("INT64", [2**63, -1, 0, 0]),
    ],
)
def test_what_only_looks_like_a_number_and_what_would_become_another_is_refused(datatype: str, data: list[Any]) -> None:
    with pytest.raises(BadRequest):
        read_request(_body(FLOATS | {"datatype": datatype, "data": data}), None)


@pytest.mark.parametrize(
    "document",
    [
        {"parameters": {"timeout": -1}},
        {"parameters": {"timeout": True}},
        {"parameters": {"timeout": 0.5}},
        {"parameters": {"binary_data_output": 1}},
        {"outputs": [{"name": "p"}, {"name": "p"}]},
        {"outputs": [{"name": "p", "parameters": {"binary_data": "true"}}]},
        {"outputs": [{"name": "p", "parameters": {"classification": 2}}]},
        {"outputs": [{"name": "p", "parameters": {"shared_memory_region": "mine"}}]},
        {"inputs": [FLOATS | {"parameters": {"shared_memory_region": "mine"}, "data": [1, 2, 3, 4]}]},
        {"inputs": [FLOATS | {"shape": [0, 1 << 40, 1 << 40], "data": []}]},
        {"inputs": [FLOATS | {"shape": [0, 1 << 40, 1 << 40], "parameters": {"binary_data_size": 0}}]},
        {"inputs": [FLOATS | {"data": [1, 2, 3, 4], "parameters": {"binary_data_size": 0}}]},
        {"inputs": [FLOATS | {"shape": [True, 4], "data": [1, 2, 3, 4]}]},
        {"id": 7},
    ],
)
def test_what_is_not_done_here_is_refused_and_not_ignored(document: dict[str, Any]) -> None:
    whole = {"inputs": [FLOATS | {"data": [1, 2, 3, 4]}], **document}
    with pytest.raises(BadRequest):
        read_request(json.dumps(whole).encode(), None)


@pytest.mark.parametrize(("microseconds", "seconds"), [(0, None), (None, None), (2_000_000, 2.0)])
def test_no_wish_for_a_time_and_a_wish_for_one_are_told_apart(microseconds: int | None, seconds: float | None) -> None:
    wish = {"timeout": microseconds}
    assert read_request(_body(FLOATS | {"data": [1, 2, 3, 4]}, parameters=wish), None).timeout_seconds == seconds


def test_a_time_longer_than_any_is_no_fault() -> None:
    body = _body(FLOATS | {"data": [1, 2, 3, 4]}, parameters={"timeout": 10**400})
    assert (read_request(body, None).timeout_seconds or 0) > 3600


def test_keys_that_may_be_left_out_may_be_null() -> None:
    part = FLOATS | {"data": [1, 2, 3, 4], "parameters": None}
    outputs = [{"name": "p", "parameters": None}]
    request = read_request(_body(part, id=None, parameters=None, outputs=outputs), None)
    assert (request.id, request.outputs, request.timeout_seconds) == ("", {"p": False}, None)
    assert read_request(_body(part, outputs=None), None).outputs == {}


def test_a_body_without_json_is_the_one_input_of_the_model(tmp_path: Path) -> None:
    model = make_package(tmp_path / "tiny")
    sent = images(2)
    request = read_request(sent.astype("<f4").tobytes(), "0", model)
    assert np.array_equal(request.inputs["image"], sent)
    assert request.binary_by_default
    for wrong in (b"", sent.tobytes()[:-1], b"{}"):
        with pytest.raises(BadRequest):
            read_request(wrong, "0", model)
