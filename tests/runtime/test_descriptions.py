"""What `model.toml` can say beside the plain minimum: roles, variants, a server, routes, check, gate, reference."""

import textwrap
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime.package
from runtime import ModelPackage, PackageError
from runtime.package import Format, ModelDescription, Place, Precision, Role, Route, write_package
from tests.runtime.packages import CLASSES, description, make_package

REMOTE = {"url": "grpcs://models.example.org:8001", "model": "tiny", "tolerance": 0.01}
CHECK = {"file": "check.npz", "tolerance": 0.001}
INT8 = {"file": "model.int8.onnx", "precision": "int8", "tolerance": 0.05}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A folder with a file of each kind; what is in the others does not matter to the description."""
    found = make_package(tmp_path / "tiny").directory
    for name in ("model.int8.onnx", "model.pt2", "gate.npz", "reference.json", "notes.txt"):
        (found / name).write_bytes(name.encode())
    arrays: dict[str, Any] = {"input:image": np.zeros((1, 1, 8, 8), np.float32)}
    np.savez(found / "check.npz", **arrays)
    return found


def _written(directory: Path, **changes: Any) -> ModelPackage:
    return write_package(directory, {key: value for key, value in description(**changes).items() if value is not None})


def _example() -> str:
    text = textwrap.dedent((runtime.package.__doc__ or "").partition("::\n")[2])
    return text.partition("[files]")[0]


def test_the_documented_example_is_a_description_that_can_be_used() -> None:
    tables = tomllib.loads(_example())
    tables["labels"] = [tables["labels"][0] | {"index": i, "name": f"digit {i}"} for i in range(10)]
    tables["files"] = dict.fromkeys(
        ("model.onnx", "model.int8.onnx", "check.npz", "gate.npz", "reference.json"), "0" * 64
    )
    found = ModelDescription.model_validate_json(runtime.package.toml.as_json(Path("model.toml"), tables))
    assert {name for name, field in ModelDescription.model_fields.items() if name not in tables} == {"precision"}
    assert [route.on for route in found.chosen_routes] == [Place.CUDA, Place.CPU]
    assert found.form_of(found.chosen_routes[1]).precision is Precision.INT8


def test_what_is_written_with_all_tables_is_read_back(directory: Path) -> None:
    package = _written(
        directory,
        outputs=[
            {"name": "probabilities", "dtype": "float32", "shape": ["batch", CLASSES], "role": "scores"},
            {"name": "map", "dtype": "float32", "shape": ["batch", CLASSES, 4, 4], "role": "heatmap"},
        ],
        variants=[INT8],
        remote=REMOTE,
        routes=[{"on": "cpu", "precision": "int8"}, {"on": "remote", "min_samples": 2}],
        check=CHECK,
        gate={"file": "gate.npz"},
        reference={"file": "reference.json"},
        metrics={"accuracy": 0.5, 'AUROC "Normal".1': 1},
    )
    assert ModelPackage.load(directory) == package
    assert package.metrics == {"accuracy": 0.5, 'AUROC "Normal".1': 1.0}
    heatmap = package.output(Role.HEATMAP)
    assert heatmap is not None
    assert heatmap.name == "map"
    assert package.output(Role.MASK) is None


def test_the_first_output_has_the_scores_where_there_are_labels(directory: Path) -> None:
    assert _written(directory).output(Role.SCORES) == _written(directory).outputs[0]
    assert _written(directory, labels=None).output(Role.SCORES) is None


def test_a_package_runs_on_the_best_local_device_first_unless_it_says_otherwise(directory: Path) -> None:
    assert [route.on for route in _written(directory).chosen_routes] == [Place.CUDA, Place.CPU]
    both = _written(directory, remote=REMOTE)
    assert [route.on for route in both.chosen_routes] == [Place.CUDA, Place.CPU, Place.REMOTE]


def test_a_model_on_a_server_is_known_by_the_check_that_it_must_pass(directory: Path) -> None:
    package = _written(directory, weights=None, remote=REMOTE, check=CHECK)
    assert package.weights_sha256 == package.files["check.npz"]
    assert [route.on for route in package.chosen_routes] == [Place.REMOTE]
    with pytest.raises(PackageError, match="on a server"):
        package.read_weights()


def test_a_file_of_pytorch_can_be_run_in_several_precisions(directory: Path) -> None:
    half = {"file": "model.pt2", "precision": "bfloat16", "tolerance": 0.1}
    package = _written(directory, weights="model.pt2", variants=[half, INT8], check=CHECK)
    assert [form.format for form in package.forms] == [Format.TORCH_EXPORT, Format.TORCH_EXPORT, Format.ONNX]
    assert package.form_of(Route(on=Place.CUDA)).precision is Precision.FLOAT32
    assert package.form_of(Route(on=Place.CUDA, precision=Precision.BFLOAT16)).file == "model.pt2"
    assert package.form_of(Route(on=Place.TENSORRT, precision=Precision.INT8)).file == "model.int8.onnx"


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"weights": None}, "weights", "missing"),
        ({"weights": None, "remote": REMOTE}, "weights", "[check]"),
        ({"precision": "float64"}, "precision", "'float32'"),
        ({"variants": [INT8]}, "variants", "[check]"),
        ({"variants": [INT8, INT8], "check": CHECK}, "variants", "same file"),
        ({"variants": [INT8 | {"file": "model.onnx"}], "check": CHECK}, "variants", "one precision"),
        ({"variants": [INT8 | {"file": "absent.onnx"}], "check": CHECK}, "variants.0.file", "not listed"),
        ({"variants": [INT8 | {"file": "notes.txt"}], "check": CHECK}, "variants.0.file", ".pt2"),
        ({"variants": [INT8 | {"tolerance": -1}], "check": CHECK}, "variants.0.tolerance", "greater than or equal"),
        ({"variants": [INT8 | {"file": "../model.onnx"}], "check": CHECK}, "variants.0.file", "without folders"),
        ({"check": CHECK | {"file": "notes.txt"}}, "check.file", ".npz"),
        ({"check": CHECK | {"file": "absent.npz"}}, "check.file", "not listed"),
        ({"reference": {"file": "gate.npz"}}, "reference.file", ".json"),
        ({"metrics": {"accuracy": float("nan")}}, "metrics.accuracy", "finite"),
        ({"metrics": {"none": "high"}}, "metrics.none", "number"),
        ({"remote": REMOTE | {"url": "grpc://models.example.org:8001"}}, "remote.url", "grpcs://"),
        ({"remote": REMOTE | {"url": "grpcs://models.example.org"}}, "remote.url", "host and port"),
        ({"remote": REMOTE | {"url": "https://user:secret@models.example.org"}}, "remote.url", "without user"),
        ({"remote": REMOTE | {"url": "https://models.example.org/?key=1"}}, "remote.url", "without user"),
        ({"remote": REMOTE | {"url": "file:///etc/passwd"}}, "remote.url", "scheme"),
        ({"remote": REMOTE | {"url": "https://[::1"}}, "remote.url", "scheme"),
        ({"remote": REMOTE | {"url": "http://127.0.0.1.example.org"}}, "remote.url", "in the clear"),
        ({"routes": [{"on": "remote"}]}, "routes.0.on", "[remote]"),
        ({"routes": [{"on": "npu"}]}, "routes.0.on", "'cuda'"),
        ({"routes": [{"on": "cpu", "precision": "int8"}]}, "routes.0", "nothing fits cpu int8"),
        ({"routes": [{"on": "cpu"}, {"on": "cpu"}]}, "routes.1", "same route"),
        ({"routes": [{"on": "cpu", "min_samples": 3, "max_samples": 2}]}, "routes.0", "no request fits"),
        ({"routes": [{"on": "cpu", "waiting_at_least": 3}]}, "routes.0.waiting_at_least", "before the first"),
        ({"routes": [{"on": "remote", "precision": "int8"}], "remote": REMOTE}, "routes.0", "own file"),
        ({"weights": "model.pt2", "routes": [{"on": "tensorrt"}]}, "routes.0", "nothing fits tensorrt"),
    ],
)
def test_a_wrong_table_is_refused_with_its_key(
    directory: Path, changes: dict[str, object], key: str, words: str
) -> None:
    with pytest.raises(PackageError) as caught:
        _written(directory, **changes)
    assert caught.value.key == key
    assert words in caught.value.problem


@pytest.mark.parametrize(
    ("roles", "shapes", "key", "words"),
    [
        (["scores", "heatmap"], [[CLASSES], [CLASSES, 4]], "outputs.1.shape", "4 dimensions"),
        (["scores", "heatmap"], [[CLASSES], [1, 4, 4]], "outputs.1.shape", "each of the labels"),
        (["embedding", None], [[CLASSES], [CLASSES]], "labels", '"scores"'),
        (["scores", "scores"], [[CLASSES], [CLASSES]], "outputs", "same role"),
        (["picture", None], [[CLASSES], [CLASSES]], "outputs.0.role", "'heatmap'"),
    ],
)
def test_a_wrong_role_is_refused(
    directory: Path, roles: list[str | None], shapes: list[list[int]], key: str, words: str
) -> None:
    outputs = [
        {"name": f"out{n}", "dtype": "float32", "shape": ["batch", *shape]} | ({"role": role} if role else {})
        for n, (role, shape) in enumerate(zip(roles, shapes, strict=True))
    ]
    with pytest.raises(PackageError) as caught:
        _written(directory, outputs=outputs)
    assert caught.value.key == key
    assert words in caught.value.problem


def test_names_that_the_package_itself_needs_are_not_for_its_files(directory: Path) -> None:
    (directory / "weights.onnx.sealed").write_bytes(b"")
    with pytest.raises(PackageError, match="kept for"):
        _written(directory)


@pytest.mark.parametrize("name", ["model.toml.sig", "model.toml.sealed"])
def test_a_signed_or_sealed_package_is_not_written_over(directory: Path, name: str) -> None:
    (directory / name).write_bytes(b"")
    with pytest.raises(PackageError, match="elsewhere"):
        _written(directory)
