"""The watch over a model: every client gets a verdict, none gets a refused sample's numbers, and drift can be asked."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from runtime import DriftReport, LocalRuntime, ModelPackage, PackageError, RuntimeClient, Verdict, drift, gate, watch
from runtime.drift import Reference, fit_reference
from runtime.gate import Gate, fit_gate
from runtime.package import write_package
from runtime.traits import Measured, Trait, measure
from tests.runtime.packages import SIDE, description, images
from tests.runtime.process import running

FEATURES = 5


def model() -> onnx.ModelProto:
    """Flatten → linear: the embedding; → linear → softmax: the probabilities."""
    random = np.random.default_rng(0)
    weights = [random.normal(size=shape).astype(np.float32) for shape in ((SIDE * SIDE, FEATURES), (FEATURES, 3))]
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("MatMul", ["flat", "first"], ["embedding"]),
            helper.make_node("MatMul", ["embedding", "second"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        ],
        "watched",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, SIDE, SIDE])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 3]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", FEATURES]),
        ],
        [numpy_helper.from_array(array, name) for array, name in zip(weights, ("first", "second"), strict=True)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def embedded(inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    weights = np.random.default_rng(0).normal(size=(SIDE * SIDE, FEATURES)).astype(np.float32)
    return inputs.reshape(len(inputs), -1) @ weights


def usual(count: int, seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    ramp = np.linspace(0.2, 0.8, SIDE, dtype=np.float32)
    return np.clip(ramp + 0.1 * (images(count, seed) - 0.5), 0, 1)


def usual_gate() -> Gate:
    training, held = usual(300, 1), usual(300, 2)
    return fit_gate(training, embeddings=embedded(training), held_embeddings=embedded(held))


def usual_reference() -> Reference:
    held = usual(300, 2)
    return fit_reference(
        held, embeddings=embedded(held), scores=np.random.default_rng(0).dirichlet([1, 1, 1], len(held))
    )


def make_watched(directory: Path, gate: Gate | None, reference: Reference | None) -> ModelPackage:
    directory.mkdir(parents=True)
    onnx.save(model(), directory / "model.onnx")
    parts = {}
    if gate:
        gate.write(directory / "gate.npz")
        parts["gate"] = {"file": "gate.npz"}
    if reference:
        reference.write(directory / "reference.json")
        parts["reference"] = {"file": "reference.json"}
    outputs = [
        {"name": "probabilities", "dtype": "float32", "shape": ["batch", 3]},
        {"name": "embedding", "dtype": "float32", "shape": ["batch", FEATURES], "role": "embedding"},
    ]
    return write_package(directory, description(outputs=outputs, **parts))


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return make_watched(tmp_path_factory.mktemp("packages") / "watched", usual_gate(), usual_reference())


def drift_of(reports: tuple[DriftReport, ...]) -> DriftReport:
    (report,) = reports
    return report


def test_a_client_gets_a_verdict_on_each_sample_and_numbers_only_where_it_fits(
    watched: ModelPackage, tmp_path: Path
) -> None:
    asked = np.concatenate([usual(2, 3), 1 - usual(1, 4), usual(1, 5)])
    with (
        running(tmp_path / "s", [watched.directory], tmp_path / "log") as process,
        RuntimeClient(process.socket) as client,
    ):
        answer = client.infer("tiny", {"image": asked}, timeout_seconds=30)
        assert answer.gate == (Verdict.FITS, Verdict.FITS, Verdict.UNLIKE, Verdict.FITS)
        assert np.isnan(answer.outputs["probabilities"][2]).all()
        assert np.isfinite(answer.outputs["probabilities"][[0, 1, 3]]).all()
        report = drift_of(client.drift())
    assert (report.judged, report.refused, report.samples) == (4, {Verdict.UNLIKE: 1}, 4)
    assert {feature.feature for feature in report.features} == {
        *(f"input.{trait}" for trait in Trait),
        *(f"embedding.{n}" for n in range(4)),
        *(f"score.{n}" for n in range(3)),
    }


def test_a_strange_embedding_is_refused_though_each_trait_is_usual(watched: ModelPackage) -> None:
    asked = usual(1, 3)
    asked[..., :2, :] = asked[..., 1::-1, ::-1]  # two of eight rows the other way round
    asked[..., 2:4, :] = asked[..., 3:1:-1, ::-1]
    with LocalRuntime([watched], threads=1) as runtime:
        (verdict,) = runtime.infer("tiny", {"image": asked}, timeout_seconds=30).gate
    assert not verdict.fits


def test_an_input_is_measured_once_for_gate_and_drift(watched: ModelPackage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lane waits for it; and what each is told is what it would have measured itself."""
    measured: list[int] = []

    def counted(samples: np.ndarray[Any, Any], *levels: float) -> Measured:
        measured.append(len(samples))
        return measure(samples, *levels)

    inputs = np.concatenate([usual(3, 5), np.zeros((1, 1, SIDE, SIDE), np.float32)])
    with LocalRuntime([watched], threads=1) as runtime:
        for module in (watch, gate, drift):
            monkeypatch.setattr(module, "measure", counted)
        answer = runtime.infer("tiny", {"image": inputs}, timeout_seconds=20)
        report = drift_of(runtime.drift())
    assert measured == [4]
    assert answer.gate == usual_gate().judge(inputs, embedded(inputs))
    assert report.samples == 4


def test_an_identical_request_gets_the_same_verdict_and_counts_once(watched: ModelPackage) -> None:
    with LocalRuntime([watched], threads=1, cache_bytes=1 << 20) as runtime:
        first, again = (runtime.infer("tiny", {"image": 1 - usual(1, 3)}, timeout_seconds=30) for _ in range(2))
        report = drift_of(runtime.drift())
    assert (first.cached, again.cached) == (False, True)
    assert first.gate == again.gate == (Verdict.UNLIKE,)
    assert np.isnan(again.outputs["probabilities"]).all()
    assert (report.judged, report.samples) == (1, 1)


def test_brighter_images_are_seen_to_drift(watched: ModelPackage) -> None:
    with LocalRuntime([watched], threads=1) as runtime:
        for seed in range(40):
            runtime.infer("tiny", {"image": np.clip(usual(8, seed) + 0.03, 0, 1)}, timeout_seconds=30)
        report = drift_of(runtime.drift())
    moved = {feature.feature: feature for feature in report.features}["input.mean"]
    assert report.samples == 320
    assert moved.stability_index > 1
    assert moved.p_value < 1e-9


def test_a_package_without_gate_and_reference_is_not_watched(tmp_path: Path) -> None:
    package = make_watched(tmp_path / "plain", None, None)
    with LocalRuntime([package], threads=1) as runtime:
        answer = runtime.infer("tiny", {"image": 1 - usual(1, 3)}, timeout_seconds=30)
        assert answer.gate == ()
        assert np.isfinite(answer.outputs["probabilities"]).all()
        assert runtime.drift() == ()


def test_a_gate_or_reference_of_another_model_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    inputs, other = usual(50, 1), np.random.default_rng(0).normal(size=(50, FEATURES + 1))
    gate = fit_gate(inputs, embeddings=other, held_embeddings=other)
    reference = fit_reference(inputs, embeddings=other)
    scored = fit_reference(inputs, scores=other)
    for number, parts in enumerate([(gate, None), (None, reference), (None, scored)]):
        package = make_watched(tmp_path / str(number), *parts)
        with pytest.raises(PackageError, match=r"centres|projection|score\.3"):
            LocalRuntime([package], threads=1)
