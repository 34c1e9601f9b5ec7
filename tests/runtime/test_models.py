"""Real models in this process: the numbers of ONNX Runtime alone, and refusal of what a package does not declare."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from runtime import (
    BackendFailure,
    DeadlineExceeded,
    Device,
    InferenceResult,
    InvalidInput,
    LocalRuntime,
    ModelNotFound,
    ModelPackage,
    PackageError,
    Runtime,
)
from tests.runtime.packages import SIDE, classifier, description, images, make_package


@pytest.fixture
def package(tmp_path: Path) -> ModelPackage:
    return make_package(tmp_path / "tiny")


@pytest.fixture
def local(package: ModelPackage) -> Iterator[Runtime]:
    with LocalRuntime([package], threads=1) as runtime:
        yield runtime


@pytest.mark.parametrize("samples", [1, 3, 8])
def test_the_numbers_are_those_of_the_session_alone(local: Runtime, package: ModelPackage, samples: int) -> None:
    session = onnxruntime.InferenceSession(package.directory / "model.onnx", providers=["CPUExecutionProvider"])
    (expected,) = session.run(["probabilities"], {"image": images(samples)})
    answer = local.infer("tiny", {"image": images(samples)}, timeout_seconds=30)
    assert np.array_equal(answer.outputs["probabilities"], expected)
    assert (answer.model, answer.version, answer.batch_size) == ("tiny", "1.0.0", samples)
    assert answer.weights_sha256 == package.weights_sha256


def test_views_and_foreign_byte_order_are_understood(local: Runtime) -> None:
    whole = images(4)
    expected = local.infer("tiny", {"image": whole}, timeout_seconds=30).outputs["probabilities"]
    backwards = local.infer("tiny", {"image": whole[::-1]}, timeout_seconds=30).outputs["probabilities"]
    foreign = local.infer("tiny", {"image": whole.astype(">f4")}, timeout_seconds=30).outputs["probabilities"]
    assert np.array_equal(backwards[::-1], expected)
    assert np.array_equal(foreign, expected)


def test_models_are_listed_as_their_packages_say(local: Runtime, package: ModelPackage) -> None:
    (model,) = local.models()
    assert model == package.description


_UNSOUND = images(1)
_UNSOUND[0, 0, 3, 3] = np.nan
_INFINITE = images(1)
_INFINITE[0, 0, 3, 3] = np.inf


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "takes the inputs"),
        ({"picture": images(1)}, "takes the inputs"),
        ({"image": images(1), "more": images(1)}, "takes the inputs"),
        ({"image": images(1).astype(np.float64)}, "must be float32"),
        ({"image": images(1)[0]}, "must be float32"),
        ({"image": images(1)[..., :-1]}, "must be float32"),
        ({"image": np.array(1, np.float32)}, "must be float32"),
        ({"image": images(9)}, "1 to 8 samples"),
        ({"image": images(1)[:0]}, "1 to 8 samples"),
        ({"image": _UNSOUND}, "not finite"),
        ({"image": _INFINITE}, "not finite"),
        ({"image": images(1).astype(object)}, "numpy array"),
        ({"image": images(1).tolist()}, "numpy array"),
    ],
)
def test_what_the_package_does_not_declare_is_refused(local: Runtime, inputs: dict, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        local.infer("tiny", inputs, timeout_seconds=30)


def test_an_unknown_model_is_named_with_those_that_are_there(local: Runtime) -> None:
    with pytest.raises(ModelNotFound, match=r"'other'.*loaded: tiny"):
        local.infer("other", {"image": images(1)}, timeout_seconds=30)


def test_no_time_left_is_a_deadline_exceeded(local: Runtime) -> None:
    with pytest.raises(DeadlineExceeded):
        local.infer("tiny", {"image": images(1)}, timeout_seconds=0)


def test_several_models_run_side_by_side(tmp_path: Path, package: ModelPackage) -> None:
    other = make_package(tmp_path / "other", classifier(seed=9), name="other")
    with LocalRuntime([package, other], threads=1) as runtime:
        first = runtime.infer("tiny", {"image": images(1)}, timeout_seconds=30)
        second = runtime.infer("other", {"image": images(1)}, timeout_seconds=30)
    assert first.weights_sha256 != second.weights_sha256
    assert not np.allclose(first.outputs["probabilities"], second.outputs["probabilities"])


def test_two_packages_of_one_name_and_version_are_refused(tmp_path: Path, package: ModelPackage) -> None:
    other = make_package(tmp_path / "other", classifier(seed=9))
    with pytest.raises(PackageError, match="another package"):
        LocalRuntime([package, other])


def test_several_versions_of_a_model_answer_each_under_its_own_and_the_first_by_default(
    tmp_path: Path, package: ModelPackage
) -> None:
    other = make_package(tmp_path / "other", classifier(seed=9), version="2.0.0")
    with LocalRuntime([package, other], threads=1) as runtime:
        first, default, second = (
            runtime.infer("tiny", {"image": images(1)}, version=version, timeout_seconds=30)
            for version in ("1.0.0", None, "2.0.0")
        )
        assert [model.version for model in runtime.models()] == ["1.0.0", "2.0.0"]
        assert [health.default for health in runtime.health()] == [True, False]
        with pytest.raises(ModelNotFound, match=r"'3.0.0'.*loaded: 1.0.0, 2.0.0"):
            runtime.infer("tiny", {"image": images(1)}, version="3.0.0", timeout_seconds=30)
    assert (first.version, default.version, second.version) == ("1.0.0", "1.0.0", "2.0.0")
    assert (first.weights_sha256, second.weights_sha256) == (package.weights_sha256, other.weights_sha256)
    assert not np.allclose(first.outputs["probabilities"], second.outputs["probabilities"])


def test_several_models_asked_at_once_answer_or_fail_each_for_itself(tmp_path: Path, package: ModelPackage) -> None:
    other = make_package(tmp_path / "log", classifier(logarithm=True), name="log")
    with LocalRuntime([package, other], threads=1) as runtime:
        sound, unsound, missing = runtime.infer_many(
            [("tiny", None), ("log", "1.0.0"), ("none", None)], {"image": -images(1)}, timeout_seconds=30
        )
    assert isinstance(sound, InferenceResult)
    assert isinstance(unsound, BackendFailure)
    assert isinstance(missing, ModelNotFound)


def test_numbers_that_are_not_finite_never_leave(tmp_path: Path) -> None:
    package = make_package(tmp_path / "log", classifier(logarithm=True))
    with LocalRuntime([package], threads=1) as runtime:
        with pytest.raises(BackendFailure, match="not finite"):
            runtime.infer("tiny", {"image": -images(1)}, timeout_seconds=30)
        assert runtime.infer("tiny", {"image": images(1) + 1}, timeout_seconds=30).batch_size == 1


def _shape(kind: str, shape: list[object]) -> list[dict[str, object]]:
    return [{**description()[kind][0], "shape": shape}]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"inputs": [{**description()["inputs"][0], "name": "picture"}]}, "inputs"),
        ({"outputs": [{**description()["outputs"][0], "name": "scores"}]}, "outputs.0"),
        ({"outputs": [{**description()["outputs"][0], "dtype": "float16"}]}, "outputs.0.dtype"),
        ({"outputs": _shape("outputs", ["batch", 4]), "labels": []}, "outputs.0.shape"),
        ({"inputs": _shape("inputs", ["batch", SIDE, SIDE]), "preprocessing": {"kind": "none"}}, "inputs.0.shape"),
    ],
)
def test_a_graph_that_is_not_what_its_package_declares_is_refused(tmp_path: Path, changes: dict, key: str) -> None:
    package = make_package(tmp_path / "wrong", **changes)
    with pytest.raises(PackageError) as caught:
        LocalRuntime([package])
    assert caught.value.key == key


def test_a_graph_of_one_fixed_sample_needs_a_batch_size_of_one(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="first dimension"):
        LocalRuntime([make_package(tmp_path / "eight", classifier(batch=1))])
    single = make_package(tmp_path / "one", classifier(batch=1), batch={"size": 1, "wait_ms": 0})
    with LocalRuntime([single]) as runtime:
        assert runtime.infer("tiny", {"image": images(1)}, timeout_seconds=30).batch_size == 1


def test_shapes_that_the_graph_leaves_open_are_checked_by_running_it(tmp_path: Path) -> None:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, "rows", "columns"])
    flat = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", "any"])
    graph = helper.make_graph([helper.make_node("Flatten", ["image"], ["probabilities"])], "open", [image], [flat])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    sound = make_package(tmp_path / "sound", model, outputs=_shape("outputs", ["batch", SIDE * SIDE]), labels=[])
    with LocalRuntime([sound]) as runtime:
        assert runtime.infer("tiny", {"image": images(2)}, timeout_seconds=30).batch_size == 2
    unsound = make_package(tmp_path / "unsound", model, outputs=_shape("outputs", ["batch", 4]), labels=[])
    with pytest.raises(PackageError, match="declared as float32"):
        LocalRuntime([unsound])


def test_weights_that_are_no_model_are_refused(tmp_path: Path) -> None:
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "model.onnx").write_bytes(b"not a model")
    from runtime import write_package

    package = write_package(tmp_path / "junk", description())
    with pytest.raises(PackageError, match="cannot load"):
        LocalRuntime([package])


def test_weights_changed_after_the_check_are_refused(tmp_path: Path, package: ModelPackage) -> None:
    onnx.save(classifier(seed=5), package.directory / "model.onnx")
    with pytest.raises(PackageError, match="was changed"):
        LocalRuntime([package])


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is a GPU")
def test_a_demanded_gpu_that_is_not_there_is_an_error(package: ModelPackage) -> None:
    with pytest.raises(BackendFailure, match="CUDA"):
        LocalRuntime([package], device=Device.CUDA)


@pytest.mark.skipif(not Path("/dev/nvidiactl").exists(), reason="needs an NVIDIA GPU")
def test_a_gpu_gives_the_numbers_of_the_cpu(package: ModelPackage) -> None:
    from runtime.backends.onnx import _preload_cuda

    if missing := _preload_cuda():
        pytest.skip(missing)
    answers = []
    for device in (Device.CUDA, Device.CPU):
        with LocalRuntime([package], device=device) as runtime:
            answers.append(runtime.infer("tiny", {"image": images(8)}, timeout_seconds=60).outputs["probabilities"])
    assert np.allclose(*answers, atol=1e-3)


def test_a_client_loads_no_model_library() -> None:
    code = "import sys, runtime; sys.exit('onnxruntime' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        ({"lowest": 0.9}, "outside 0.9 to inf"),
        ({"highest": 0.1}, "outside -inf to 0.1"),
        ({"total": 2.0}, "does not add up to 2"),
    ],
)
def test_an_answer_beyond_what_the_package_declares_is_a_failure_of_the_model(
    tmp_path: Path, declared: dict[str, float], reason: str
) -> None:
    output = description()["outputs"][0]
    package = make_package(tmp_path / "p", outputs=[{**output, **declared}])
    with LocalRuntime([package], threads=1) as runtime, pytest.raises(BackendFailure, match=reason):
        runtime.infer("tiny", {"image": images(3)}, timeout_seconds=30)


def test_an_answer_within_what_the_package_declares_is_given(tmp_path: Path) -> None:
    output = {**description()["outputs"][0], "lowest": 0.0, "highest": 1.0, "total": 1.0}
    package = make_package(tmp_path / "p", outputs=[output])
    with LocalRuntime([package], threads=1) as runtime:
        answer = runtime.infer("tiny", {"image": images(8)}, timeout_seconds=30)
    assert answer.outputs["probabilities"].sum(axis=1) == pytest.approx(np.ones(8), abs=1e-5)


def test_bounds_that_nothing_can_keep_are_refused(tmp_path: Path) -> None:
    output = {**description()["outputs"][0], "lowest": 1.0, "highest": 0.0}
    with pytest.raises(PackageError, match="lowest"):
        make_package(tmp_path / "p", outputs=[output])
