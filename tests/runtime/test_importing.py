"""Models of others become packages: what is read from the file, what must be said, and what is refused."""

import contextlib
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from runtime import LocalRuntime, ModelPackage, PackageError
from runtime.importing import import_model, trial, trying
from runtime.package import Role, read_arrays
from runtime.package.archives import without_pickles
from tests.runtime.packages import CLASSES, SIDE, classifier, description, images, make_package
from tests.waiting import wait_until

SAID = {
    "version": "1.0.0",
    "intended_use": "Tests only.",
    "licence": "Apache-2.0",
    "training_data": "None: random weights.",
}


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try models here, and not each in a process of its own: that takes most of a test's time, and how it holds a model
    is proven by the tests without this. What goes in and what comes back is the same JSON and the same descriptors.
    """

    def tried(_place: Path, request: Any, descriptors: tuple[int, ...]) -> Any:
        return json.loads(json.dumps(trying._tried(json.loads(json.dumps(request)), *descriptors)))

    monkeypatch.setattr(trial, "_in_a_process", tried)


HERE = pytest.mark.usefixtures("in_this_process")


def _refusal(source: Path | str, into: Path, **details: Any) -> PackageError:
    with pytest.raises(PackageError) as caught:
        import_model(source, into, {**SAID, **details})
    assert not into.exists() or not list(into.iterdir())
    return caught.value


def _onnx_file(path: Path, model: onnx.ModelProto | None = None) -> Path:
    onnx.save(model or classifier(), path)
    return path


def _answer(package: ModelPackage, inputs: dict[str, Any]) -> Any:
    runtime = LocalRuntime([package])
    try:
        return runtime.infer(package.name, inputs, timeout_seconds=60).outputs
    finally:
        runtime.close()


def test_an_onnx_file_says_itself_what_it_takes_and_gives(tmp_path: Path, into: Path) -> None:
    package = import_model(_onnx_file(tmp_path / "Tiny Model.onnx"), into, SAID)
    assert package.directory == into / "tiny-model-1.0.0"
    assert package.research_only
    assert [(spec.name, spec.dtype, spec.shape) for spec in package.inputs] == [
        ("image", "float32", ("batch", 1, SIDE, SIDE))
    ]
    assert package.outputs[0].shape == ("batch", CLASSES)
    assert package.batch.size == 8
    assert _answer(package, {"image": images(3)})["probabilities"].shape == (3, CLASSES)


def test_what_it_answers_when_it_is_imported_becomes_its_check(tmp_path: Path, into: Path) -> None:
    package = import_model(_onnx_file(tmp_path / "tiny.onnx"), into, SAID)
    assert package.check is not None
    arrays = read_arrays(package.directory, package.read(package.check.file))
    assert arrays["input:image"].shape == (2, 1, SIDE, SIDE)
    again = _answer(package, {"image": arrays["input:image"]})["probabilities"]
    assert np.allclose(again, arrays["output:probabilities"], atol=1e-6)


@HERE
def test_a_description_adds_what_no_file_says(tmp_path: Path, into: Path) -> None:
    said = {key: value for key, value in description().items() if key not in ("inputs", "outputs", "weights")}
    package = import_model(_onnx_file(tmp_path / "any.onnx"), into, said)
    assert package.name == "tiny"
    assert [label.name for label in package.labels] == ["class 0", "class 1", "class 2"]
    assert tomllib.loads((package.directory / "model.toml").read_text())["preprocessing"]["kind"] == "grayscale"


@pytest.mark.parametrize("missing", sorted(SAID))
def test_what_the_file_cannot_say_must_be_said(tmp_path: Path, into: Path, missing: str) -> None:
    said = {key: value for key, value in SAID.items() if key != missing}
    with pytest.raises(PackageError) as caught:
        import_model(_onnx_file(tmp_path / "tiny.onnx"), into, said)
    assert caught.value.key == missing


@HERE
def test_a_model_with_a_fixed_batch_runs_one_sample_at_a_time(tmp_path: Path, into: Path) -> None:
    package = import_model(_onnx_file(tmp_path / "fixed.onnx", classifier(batch=1)), into, SAID)
    assert package.batch.size == 1


@HERE
def test_several_inputs_are_fed_by_name(tmp_path: Path, into: Path) -> None:
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["count"], ["real"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["x", "real"], ["y"]),
        ],
        "two",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4]),
            helper.make_tensor_value_info("count", TensorProto.INT64, ["n", 1]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    package = import_model(_onnx_file(tmp_path / "two.onnx", model), into, SAID)
    assert [(spec.name, spec.sample_shape) for spec in package.inputs] == [("x", (4,)), ("count", (1,))]
    assert package.outputs[0].sample_shape == (4,)


def _open_size() -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "open",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, "rows", "columns"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1, "rows", "columns"])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@HERE
def test_a_size_that_the_file_leaves_open_must_be_fixed(tmp_path: Path, into: Path) -> None:
    file = _onnx_file(tmp_path / "open.onnx", _open_size())
    assert _refusal(file, into).key == "inputs"
    fixed = {"name": "x", "dtype": "float32", "shape": ["batch", 1, 6, 5]}
    assert import_model(file, into, {**SAID, "inputs": [fixed]}).outputs[0].sample_shape == (1, 6, 5)


@HERE
@pytest.mark.parametrize(
    ("details", "key", "words"),
    [
        ({"inputs": [{"name": "image", "dtype": "float32", "shape": ["batch", 1, 9, 9]}]}, "inputs.0", "[1, 8, 8]"),
        ({"inputs": [{"name": "image", "dtype": "uint8", "shape": ["batch", 1, 8, 8]}]}, "inputs.0", "float32"),
        ({"inputs": [{"name": "x", "dtype": "float32", "shape": ["batch", 1, 8, 8]}]}, "inputs", "['image']"),
        ({"outputs": [{"name": "x"}]}, "outputs.0", "'probabilities'"),
        ({"outputs": [{"name": "probabilities", "shape": ["batch", 4]}]}, "outputs.0.shape", "['batch', 3]"),
        ({"outputs": [{"name": "probabilities", "dtype": "float16"}]}, "outputs.0.dtype", "float32"),
        ({"colour": "red"}, "colour", "unknown key"),
        ({"files": {}}, "files", "unknown key"),
        ({"inputs": 3}, "inputs", "valid array"),
        ({"inputs": [{"name": "image"}]}, "inputs.0.dtype", "is missing"),
        ({"inputs": [{"name": "image", "dtype": "float32", "shape": ["batch", -1]}]}, "inputs.0.shape", "positive"),
        ({"inputs": [{"name": "image", "dtype": "float32", "shape": ["batch", "rows"]}]}, "inputs.0.shape", "positive"),
        ({"outputs": ["probabilities"]}, "outputs.0", "object"),
        ({"outputs": [{"role": "scores"}]}, "outputs.0.name", "is missing"),
        ({"outputs": [{"name": "probabilities", "rôle": "scores"}]}, "outputs.0.rôle", "unknown key"),
        ({"batch": 8}, "batch", "object"),
        ({"variants": 3}, "variants", "valid array"),
        ({"metrics": {"auroc": "good"}}, "metrics.auroc", "number"),
        ({"name": "../etc"}, "name", "pattern"),
        ({"version": "../../1"}, "version", "pattern"),
    ],
)
def test_a_description_that_contradicts_the_file_is_refused(
    tmp_path: Path, into: Path, details: dict[str, Any], key: str, words: str
) -> None:
    refusal = _refusal(_onnx_file(tmp_path / "tiny.onnx"), into, **details)
    assert refusal.key == key
    assert words in refusal.problem


def test_a_package_is_copied_as_it_is_and_not_described_anew(tmp_path: Path, into: Path) -> None:
    theirs = make_package(tmp_path / "theirs")
    with pytest.raises(PackageError) as caught:
        import_model(theirs.directory, into, {"version": "2.0.0"})
    assert caught.value.key == "version"
    assert "copied as it is" in caught.value.problem


@HERE
def test_answers_that_depend_on_the_rest_of_the_batch_are_refused(tmp_path: Path, into: Path) -> None:
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["y"]),
        ],
        "norm",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert "depends on the others" in str(_refusal(_onnx_file(tmp_path / "norm.onnx", model), into))


def _vectors(*nodes: onnx.NodeProto, x: str = "x", y: str = "y", **more: Any) -> onnx.ModelProto:
    """A graph from vectors `x` of four numbers to `y`."""
    graph = helper.make_graph(
        list(nodes),
        "vectors",
        [helper.make_tensor_value_info(x, more.get("dtype", TensorProto.FLOAT), ["n", 4])],
        [helper.make_tensor_value_info(y, TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(np.array(0, np.int64), "first")],
    )
    domains = [helper.make_opsetid("", more.get("opset", 17)), helper.make_opsetid("org.example", 1)]
    return helper.make_model(graph, opset_imports=domains, ir_version=8)


@HERE
@pytest.mark.parametrize("reverse", [0, 1])
def test_answers_of_which_only_one_depends_on_the_other_sample_are_refused(
    tmp_path: Path, into: Path, reverse: int
) -> None:
    """A running sum along the batch: of two samples one is what it is alone."""
    model = _vectors(helper.make_node("CumSum", ["x", "first"], ["y"], reverse=reverse))
    assert "depends on the others" in str(_refusal(_onnx_file(tmp_path / "sums.onnx", model), into))


@HERE
def test_answers_to_integers_that_depend_on_the_other_sample_are_refused(tmp_path: Path, into: Path) -> None:
    """Made-up integers are zeros, since they may be places in something; of equal samples nobody could tell."""
    sums = [helper.make_node("CumSum", ["x", "first"], ["s"]), helper.make_node("Cast", ["s"], ["y"], to=1)]
    model = _vectors(*sums, dtype=TensorProto.INT64)
    assert "depends on the others" in str(_refusal(_onnx_file(tmp_path / "sums.onnx", model), into))


@HERE
def test_integers_of_which_only_zero_is_a_place_are_no_fault(tmp_path: Path, into: Path) -> None:
    table = helper.make_node("Constant", [], ["table"], value=numpy_helper.from_array(np.ones(1, np.float32)))
    model = _vectors(table, helper.make_node("Gather", ["table", "x"], ["y"]), dtype=TensorProto.INT64)
    package = import_model(_onnx_file(tmp_path / "places.onnx", model), into, SAID)
    assert not read_arrays(package.directory, package.read("check.npz"))["input:x"].any()


@HERE
@pytest.mark.parametrize("name", ["two\nlines", "nul\0", "\x1b[31m", "turned\u202e", "x" * 70_000])
@pytest.mark.parametrize("place", ["x", "y"])
def test_tensors_whose_names_cannot_be_seen_are_refused(tmp_path: Path, into: Path, name: str, place: str) -> None:
    names = {"x": "x", "y": "y", place: name}
    model = _vectors(helper.make_node("Relu", [names["x"]], [names["y"]]), **names)
    refusal = _refusal(_onnx_file(tmp_path / "named.onnx", model), into)
    assert refusal.key == f"{'inputs' if place == 'x' else 'outputs'}.0.name"


@HERE
def test_names_with_slashes_and_of_other_alphabets_are_names(tmp_path: Path, into: Path) -> None:
    model = _vectors(helper.make_node("Relu", ["serving/girdi_ı:0"], ["../çıktı"]), x="serving/girdi_ı:0", y="../çıktı")
    package = import_model(_onnx_file(tmp_path / "named.onnx", model), into, SAID)
    assert _answer(package, {"serving/girdi_ı:0": np.ones((2, 4), np.float32)})["../çıktı"].shape == (2, 4)


def test_what_a_terminal_would_obey_stands_in_no_message(tmp_path: Path, into: Path) -> None:
    model = _vectors(helper.make_node("Red\x1b[31m", ["x"], ["y"], domain="org.example"))
    refusal = _refusal(_onnx_file(tmp_path / "custom.onnx", model), into)
    assert "Red" in str(refusal)
    assert str(refusal).isprintable()


@HERE
@pytest.mark.parametrize(
    ("model", "words"),
    [
        (_vectors(helper.make_node("Relu", ["x"], ["y"]), opset=99), "cannot be run"),
        (_vectors(helper.make_node("Cast", ["x"], ["y"], to=1), dtype=TensorProto.BOOL), "which no package can have"),
        (_vectors(helper.make_node("Nothing", ["x"], ["y"], domain="org.example")), "cannot be run"),
        (_vectors(helper.make_node("RandomNormalLike", ["x"], ["y"])), "depends on the others"),
    ],
)
def test_what_cannot_be_served_here_is_refused(tmp_path: Path, into: Path, model: onnx.ModelProto, words: str) -> None:
    assert words in str(_refusal(_onnx_file(tmp_path / "model.onnx", model), into))


def _endless() -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["v"], ["w"])],
        "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("v", TensorProto.FLOAT, None)],
        [value("on", TensorProto.BOOL, []), value("w", TensorProto.FLOAT, None)],
    )
    most = helper.make_node("Constant", [], ["most"], value=numpy_helper.from_array(np.array(1 << 62)))
    yes = helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True)))
    return _vectors(most, yes, helper.make_node("Loop", ["most", "yes", "x"], ["y"], body=body))


IMPORT = """
import pathlib, sys
from runtime.importing import import_model
from tests.runtime.test_importing import SAID
import_model(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), SAID)
"""


def test_a_trial_ends_with_who_wanted_it(tmp_path: Path, into: Path) -> None:
    """Whose import is killed wants no model that runs on for minutes."""
    file = _onnx_file(tmp_path / "endless.onnx", _endless())
    with subprocess.Popen([sys.executable, "-c", IMPORT, file, into]) as importing:
        children = Path(f"/proc/{importing.pid}/task/{importing.pid}/children")
        wait_until(lambda: bool(children.read_text()), "the trial to begin", 20)
        trying = Path(f"/proc/{children.read_text().split()[0]}/status")
        wait_until(lambda: "NoNewPrivs:\t1" in trying.read_text(), "the trial to have limited itself", 20)
        importing.kill()
    wait_until(lambda: not trying.exists() or "State:\tZ" in trying.read_text(), "the trial to end", 20)
    assert not into.exists()


def test_a_model_that_never_answers_is_given_up(tmp_path: Path, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_SECONDS", 2)
    assert "within 2 s" in str(_refusal(_onnx_file(tmp_path / "endless.onnx", _endless()), into))


@pytest.mark.parametrize("report", [[], {}, {"inputs": 1, "outputs": 2}, {"inputs": []}, None])
def test_a_trial_that_reports_nonsense_is_refused(
    tmp_path: Path, into: Path, monkeypatch: pytest.MonkeyPatch, report: Any
) -> None:
    monkeypatch.setattr(trial, "_in_a_process", lambda *_: report)
    assert "report" in str(_refusal(_onnx_file(tmp_path / "tiny.onnx"), into))


@HERE
def test_onnx_with_its_weights_in_another_file_is_refused_with_the_way_out(tmp_path: Path, into: Path) -> None:
    path = tmp_path / "big.onnx"
    onnx.save(classifier(), path, save_as_external_data=True, location="big.onnx.data", size_threshold=0)
    assert (tmp_path / "big.onnx.data").exists()
    assert "onnx.save" in str(_refusal(path, into))


@pytest.mark.parametrize("name", ["model.onnx", "model.pt2", "model.ts", "model.pt"])
@pytest.mark.parametrize("content", [b"", b"no model at all", b"PK\x05\x06" + b"\0" * 18])
def test_what_is_no_model_is_refused(tmp_path: Path, into: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert name in str(_refusal(tmp_path / name, into))


def test_a_file_of_another_kind_and_a_link_are_refused(tmp_path: Path, into: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(b"")
    assert ".onnx" in str(_refusal(tmp_path / "model.pkl", into))
    (tmp_path / "link.onnx").symlink_to(_onnx_file(tmp_path / "tiny.onnx"))
    assert "links" in str(_refusal(tmp_path / "link.onnx", into))


@HERE
def test_an_imported_package_can_be_sealed_at_once(tmp_path: Path, into: Path) -> None:
    package = import_model(_onnx_file(tmp_path / "tiny.onnx"), into, SAID, site_key=bytes(32))
    assert package.sealed
    assert not (package.directory / "model.onnx").exists()
    assert _answer(package, {"image": images(1)})


def test_a_package_of_someone_else_is_copied_as_it_is(tmp_path: Path, into: Path) -> None:
    theirs = make_package(tmp_path / "theirs")
    ours = import_model(theirs.directory, into, {}, site_key=bytes(32))
    assert ours.description == theirs.description
    assert ours.directory == into / "tiny-1.0.0"


@HERE
def test_no_version_is_imported_twice(tmp_path: Path, into: Path) -> None:
    file = _onnx_file(tmp_path / "tiny.onnx")
    import_model(file, into, SAID)
    with pytest.raises(FileExistsError):
        import_model(file, into, SAID)


# PyTorch


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


@pytest.fixture
def network(torch: Any) -> Any:
    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 2)

        def forward(self, x: Any) -> Any:
            return torch.softmax(self.layer(x), 1) * torch.tensor([1.0, 2.0])

    return Network().eval()


def _export(torch: Any, network: Any, path: Path, example: Any = None) -> Path:
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(network, (torch.zeros(2, 4),), dynamic_shapes={"x": {0: batch}})
    torch.export.save(program, path)
    return path


VECTOR = {"name": "x", "dtype": "float32", "shape": ["batch", 4]}


@pytest.mark.torch
def test_a_torch_export_file_says_itself_what_it_takes(torch: Any, network: Any, tmp_path: Path, into: Path) -> None:
    package = import_model(_export(torch, network, tmp_path / "net.pt2"), into, SAID)
    assert package.weights == "model.pt2"
    assert [(spec.name, spec.sample_shape) for spec in package.inputs] == [("x", (4,))]
    assert [(spec.name, spec.sample_shape) for spec in package.outputs] == [("output", (2,))]
    arrays = read_arrays(package.directory, package.read("check.npz"))
    expected = network(torch.from_numpy(arrays["input:x"])).detach().numpy()
    assert np.allclose(arrays["output:output"], expected, atol=1e-6)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["net.ts", "net.pt"])
def test_a_torchscript_file_must_be_told_what_it_takes(
    torch: Any, network: Any, tmp_path: Path, into: Path, request: pytest.FixtureRequest, name: str
) -> None:
    if name == "net.pt":
        request.getfixturevalue("in_this_process")
    torch.jit.save(torch.jit.trace(network, torch.zeros(2, 4)), tmp_path / name)
    assert _refusal(tmp_path / name, into).key == "inputs"
    package = import_model(tmp_path / name, into, {**SAID, "inputs": [VECTOR], "outputs": [{"name": "scores"}]})
    assert package.weights == "model.ts"
    assert package.outputs[0].name == "scores"


class _Harmful:
    """Unpickled, it makes the file of that name."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.torch
def test_pickled_objects_are_refused_and_never_unpickled(torch: Any, tmp_path: Path, into: Path) -> None:
    harm = tmp_path / "harm"
    torch.save(_Harmful(harm), tmp_path / "model.pt")
    assert "no program" in str(_refusal(tmp_path / "model.pt", into, inputs=[VECTOR]))
    assert not harm.exists()


def _altered(source: Path, alter: Callable[[str, bytes], bytes | None], extra: dict[str, bytes] | None = None) -> Path:
    import zipfile

    target = source.with_name("altered.pt2")
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = alter(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
        for name, content in (extra or {}).items():
            new.writestr(name, content)
    return target


@HERE
@pytest.mark.torch
def test_sample_inputs_of_an_exported_program_are_never_unpickled(
    torch: Any, network: Any, tmp_path: Path, into: Path
) -> None:
    harm, content = tmp_path / "harm", BytesIO()
    torch.save(_Harmful(harm), content)
    file = _altered(
        _export(torch, network, tmp_path / "net.pt2"),
        lambda name, data: content.getvalue() if name.endswith("sample_inputs/model.pt") else data,
    )
    import_model(file, into, SAID)
    assert not harm.exists()
    with contextlib.suppress(RuntimeError, TypeError, ValueError, AttributeError):  # of what follows
        torch.export.load(file)
    assert harm.exists(), "PyTorch itself unpickles these no longer: the guard can go"


@pytest.mark.torch
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b'"use_pickle": false', b'"use_pickle": true', "pickled"),
        (b'"path_name": "tensor_0"', b'"path_name": "opaque_obj_0"', "something else"),
        (b"torch.ops.aten.softmax.int", b"torch.serialization.os.system", "calls torch.serialization"),
        (b"torch.ops.aten.softmax.int", b"torch.ops.aten.from_file.default", "calls torch.ops.aten.from_file"),
        (
            b"Symbol('s77', positive=True",
            b"__import__('os').system('true')) + Symbol('s77', positive=True",
            "arithmetic",
        ),
        (b"Symbol('s77', positive=True", b"eval('s77', positive=True", "arithmetic"),
    ],
)
def test_what_an_exported_program_could_do_harm_with_is_refused(
    torch: Any, network: Any, tmp_path: Path, into: Path, old: bytes, new: bytes, words: str
) -> None:
    changed: list[str] = []

    def alter(name: str, data: bytes) -> bytes:
        if old in data:
            changed.append(name)
        return data.replace(old, new)

    file = _altered(_export(torch, network, tmp_path / "net.pt2"), alter)
    assert changed
    assert words in str(_refusal(file, into))


@HERE
@pytest.mark.torch
def test_a_size_may_be_a_square_and_no_number_that_takes_for_ever(torch: Any, tmp_path: Path, into: Path) -> None:
    class Pairs(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            products = (x.unsqueeze(0) * x.unsqueeze(1)).reshape(x.shape[0] ** 2, 4)
            return products.sum(0, keepdim=True).expand(x.shape[0], 4)

    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(Pairs(), (torch.zeros(3, 4),), dynamic_shapes={"x": {0: batch}})
    torch.export.save(program, tmp_path / "net.pt2")
    square = b"Pow(Symbol('s77', positive=True, integer=True), Integer(2))"
    without_pickles(tmp_path, (tmp_path / "net.pt2").read_bytes())
    for power in (b"Pow(Integer(9), Pow(Integer(9), Integer(9)))", b"9**9**9", b"Pow(9, 99)", b"Pow(9, b=2)"):
        found: list[bytes] = []

        def alter(_: str, data: bytes, power: bytes = power, found: list[bytes] = found) -> bytes:
            found += [data] if square in data else []
            return data.replace(square, power)

        file = _altered(tmp_path / "net.pt2", alter)
        assert found
        assert "arithmetic" in str(_refusal(file, into))


@pytest.mark.torch
def test_native_code_in_an_exported_program_is_refused(torch: Any, network: Any, tmp_path: Path, into: Path) -> None:
    exported = _export(torch, network, tmp_path / "net.pt2")
    file = _altered(exported, lambda _, data: data, {"net/data/aotinductor/model/model.so": b"\x7fELF"})
    assert "more than graph and weights" in str(_refusal(file, into))


@HERE
@pytest.mark.torch
def test_a_variant_that_is_the_same_file_is_the_file_that_was_tried(
    torch: Any, network: Any, tmp_path: Path, into: Path
) -> None:
    """Not another one of that name that lies beside the description."""
    file = _export(torch, network, tmp_path / "net.pt2")
    (tmp_path / "model.pt2").write_bytes(b"something else")
    said = {**SAID, "variants": [{"file": "model.pt2", "precision": "bfloat16", "tolerance": 0.1}]}
    package = import_model(file, into, said, details_folder=tmp_path)
    assert [(form.file, form.precision) for form in package.forms] == [
        ("model.pt2", "float32"),
        ("model.pt2", "bfloat16"),
    ]
    assert _answer(package, {"x": np.zeros((1, 4), np.float32)})["output"].shape == (1, 2)


# MONAI bundles


def _bundle(path: Path, **network_format: Any) -> Path:
    (path / "configs").mkdir(parents=True)
    (path / "models").mkdir()
    image = {
        "type": "image",
        "format": "hounsfield",
        "num_channels": 1,
        "spatial_shape": [16, 16, 16],
        "dtype": "float32",
    }
    mask = {"type": "image", "format": "segmentation", "num_channels": 2, "spatial_shape": [16, 16, 16]}
    metadata = {
        "version": "0.4.2",
        "name": "Phantom lesions",
        "intended_use": "Tests only.",
        "data_source": "Phantoms.",
        "license": "Apache-2.0",
        "eval_metrics": {"mean_dice": 0.5, "note": "not a number"},
        "network_data_format": {
            "inputs": {"image": {**image, **network_format}},
            "outputs": {"pred": {**mask, **network_format}},
        },
    }
    (path / "configs" / "metadata.json").write_text(json.dumps(metadata))
    return path


NETWORK = {
    "_target_": "monai.networks.nets.UNet",
    "spatial_dims": 3,
    "in_channels": "@channels",
    "out_channels": 2,
    "channels": [4, 8],
    "strides": [2],
}


def _state_dict_bundle(path: Path, network: dict[str, Any]) -> Path:
    torch = pytest.importorskip("torch")
    nets = pytest.importorskip("monai.networks.nets")
    bundle = _bundle(path)
    (bundle / "configs" / "inference.json").write_text(json.dumps({"channels": 1, "network_def": network}))
    unet = nets.UNet(spatial_dims=3, in_channels=1, out_channels=2, channels=[4, 8], strides=[2])
    torch.save(unet.state_dict(), bundle / "models" / "model.pt")
    return bundle


@HERE
@pytest.mark.torch
def test_a_monai_bundle_says_what_it_is(torch: Any, tmp_path: Path, into: Path) -> None:
    bundle = _bundle(tmp_path / "bundle")
    convolution = torch.nn.Conv3d(1, 2, 3, padding=1).eval()
    torch.jit.save(torch.jit.trace(convolution, torch.zeros(1, 1, 16, 16, 16)), bundle / "models" / "model.ts")
    package = import_model(bundle, into, {})
    assert (package.name, package.version, package.licence) == ("phantom-lesions", "0.4.2", "Apache-2.0")
    assert package.metrics == {"mean_dice": 0.5}
    mask = package.output(Role.MASK)
    assert mask is not None
    assert mask.sample_shape == (2, 16, 16, 16)
    assert json.loads(package.read("monai-metadata.json"))["version"] == "0.4.2"


@pytest.mark.torch
@pytest.mark.parametrize("place", ["here", pytest.param("apart", marks=pytest.mark.soak)])
def test_a_state_dict_of_a_bundle_becomes_a_program(
    tmp_path: Path, into: Path, request: pytest.FixtureRequest, place: str
) -> None:
    """Here, and (that takes seconds) in the process with limits in which an operator's is tried."""
    if place == "here":
        request.getfixturevalue("in_this_process")
    package = import_model(_state_dict_bundle(tmp_path / "bundle", NETWORK), into, {})
    assert package.weights == "model.pt2"
    assert package.outputs[0].sample_shape == (2, 16, 16, 16)


@HERE
@pytest.mark.torch
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"_target_": "os.system"}, "monai.networks.nets"),
        ({"_target_": "scripts.network.Net"}, "monai.networks.nets"),
        ({"_target_": "$__import__('os').abort()"}, "expression"),
        ({"channels": "$[4, 8]"}, "expression"),
        ({"in_channels": "@network_def::in_channels"}, "itself"),
        ({"_target_": "monai.networks.nets.torch"}, "monai.networks.nets"),
        ({"out_channels": 3}, "cannot be run"),
    ],
)
def test_code_in_a_bundle_is_never_run(tmp_path: Path, into: Path, changes: dict[str, Any], words: str) -> None:
    bundle = _state_dict_bundle(tmp_path / "bundle", {**NETWORK, **changes})
    assert words in str(_refusal(bundle, into))


def test_a_bundle_that_leaves_its_size_open_must_be_told(tmp_path: Path, into: Path) -> None:
    bundle = _bundle(tmp_path / "bundle", spatial_shape=["16*n", "*", 16])
    assert "[[inputs]]" in str(_refusal(bundle, into))


def test_a_bundle_without_a_model_is_refused(tmp_path: Path, into: Path) -> None:
    assert "holds no model" in str(_refusal(_bundle(tmp_path / "bundle"), into))


# Servers


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://models.example.org", "name the model"),
        ("grpcs://models.example.org/chest", "host and port"),
        ("http://models.example.org/v2/models/chest", "in the clear"),
        ("ftp://models.example.org/chest", "scheme"),
        ("https://user:secret@models.example.org/v2/models/chest", "without user"),
    ],
)
def test_an_address_that_names_no_model_is_refused(into: Path, url: str, words: str) -> None:
    refusal = _refusal(url, into)
    assert words in str(refusal)
    assert "secret" not in str(refusal)
