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
from tests.runtime.packages import make_package

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
