"""Reads a model of each kind within the process that tries it, and finds what it takes."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from runtime.importing.shapes import Run, Tables, TrialFailed
from runtime.package.archives import Array, without_pickles
from runtime.package.parts import DType, Format

_ONNX_TYPES: Final = {
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}
_NO_TORCH: Final = "needs PyTorch, which is not installed; install the extra kopru[torch]"


@dataclass(frozen=True, slots=True)
class Model:
    """A model that can be run: its inputs as tables of `model.toml`, its outputs as far as they are known."""

    inputs: Tables
    outputs: Tables
    run: Run
    program: bytes | None = None


def read_model(request: Mapping[str, Any], data: bytes) -> Model:
    """Raises `TrialFailed`, `PackageError`, and whatever the library makes of a broken file."""
    inputs, outputs = request["inputs"], request["outputs"] or []
    if request["network"] is not None:
        return _with_network(request["network"], data, inputs, outputs)
    match Format(request["kind"]):
        case Format.ONNX:
            return _onnx(data, inputs, outputs)
        case Format.TORCH_EXPORT:
            return _exported(data, inputs, outputs)
        case Format.TORCHSCRIPT:
            return _script(data, inputs, outputs)
        case kind:
            raise TrialFailed("weights", f"{kind} files are written by hand, and not imported")


def _onnx(data: bytes, declared: Tables | None, outputs: Tables) -> Model:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no base class
        if "external" in str(error).lower():
            raise TrialFailed(
                "",
                "keeps its weights in another file (external data), and a package checks one: save it whole, with "
                "onnx.save(onnx.load(FILE), NEW)",
            ) from None
        raise
    found = [
        {"name": node.name, "dtype": _ONNX_TYPES.get(node.type, node.type), "shape": list(node.shape)}
        for node in session.get_inputs()
    ]
    names = [node.name for node in session.get_outputs()]
    wanted = [str(each["name"]) for each in outputs] or names
    for position, name in enumerate(wanted):
        if name not in names:
            raise TrialFailed(f"outputs.{position}", f"the graph has no output {name!r}, only {names}")

    def run(batch: Mapping[str, Array]) -> Sequence[Array]:
        return [np.asarray(value) for value in session.run(wanted, dict(batch))]

    return Model(_inputs(found, declared), outputs or [{"name": name} for name in names], run)


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise TrialFailed("", _NO_TORCH) from None
    torch.set_num_threads(1)
    return torch


def _exported(data: bytes, declared: Tables | None, outputs: Tables) -> Model:
    torch = _torch()
    program = torch.export.load(io.BytesIO(without_pickles(Path("model.pt2"), data)))
    fed = set(program.graph_signature.user_inputs)
    found = []
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in fed:
            value = node.meta["val"]
            sizes = [size if isinstance(size, int) else None for size in value.shape]
            found.append({"name": node.name, "dtype": str(value.dtype).removeprefix("torch."), "shape": sizes})
    return _pytorch(torch, program.module(), _inputs(found, declared, named=False), outputs)


def _script(data: bytes, declared: Tables | None, outputs: Tables) -> Model:
    torch = _torch()
    if not declared:
        raise TrialFailed("inputs", "a TorchScript file does not say what it takes: describe it as [[inputs]]")
    return _pytorch(torch, torch.jit.load(io.BytesIO(data), map_location="cpu").eval(), declared, outputs)


def _with_network(network: Mapping[str, Any], state: bytes, declared: Tables | None, outputs: Tables) -> Model:
    """Build the network of MONAI that the bundle names, load its weights, and make a program of the two."""
    torch = _torch()
    try:
        import monai.networks.nets as nets
    except ImportError:
        raise TrialFailed(
            "", "is a state dict, whose network MONAI builds; it is not installed: pip install monai"
        ) from None
    if not declared:
        raise TrialFailed("inputs", "are missing")
    arguments = dict(network)
    build = getattr(nets, arguments.pop("_target_"), None)
    if not (isinstance(build, type) and issubclass(build, torch.nn.Module)):
        raise TrialFailed("network_def", "is no network of monai.networks.nets")
    module = build(**{name: value for name, value in arguments.items() if not name.startswith("_")}).eval()
    weights = torch.load(io.BytesIO(state), map_location="cpu", weights_only=True)
    for key in ("state_dict", "model"):
        if isinstance(weights, dict) and isinstance(weights.get(key), dict):
            weights = weights[key]
    module.load_state_dict(weights, strict=True)
    examples = tuple(torch.zeros((2, *each["shape"][1:]), dtype=getattr(torch, each["dtype"])) for each in declared)
    batch = torch.export.Dim("batch", min=1, max=1024)
    shapes = tuple({0: batch} for _ in examples)
    with torch.no_grad():
        program = torch.export.export(module, examples, dynamic_shapes=shapes)
    made = io.BytesIO()
    torch.export.save(program, made)
    clean = without_pickles(Path("model.pt2"), made.getvalue())
    tried = _exported(clean, declared, outputs)
    return Model(tried.inputs, tried.outputs, tried.run, clean)


def _pytorch(torch: Any, module: Any, inputs: Tables, outputs: Tables) -> Model:
    """Inputs go in by their order; outputs come as one tensor, a sequence, or by name."""
    names = [str(each["name"]) for each in outputs]

    def run(batch: Mapping[str, Array]) -> Sequence[Array]:
        with torch.inference_mode():
            given = module(*(torch.from_numpy(np.array(batch[each["name"]])) for each in inputs))
        if isinstance(given, dict):
            if not names:
                raise TrialFailed("outputs", f"are given by name; describe those wanted of {sorted(given)[:20]}")
            given = [given[name] for name in names]
        return [each.numpy() for each in (given if isinstance(given, list | tuple) else [given])]

    return Model(inputs, outputs, run)


def _inputs(found: Sequence[dict[str, Any]], declared: Tables | None, *, named: bool = True) -> Tables:
    """The declared inputs if they are those found, else those found if they leave nothing open but the batch.

    With `named`, inputs are known by their names, else by their order.
    """
    if declared:
        names, there = [each["name"] for each in declared], [each["name"] for each in found]
        if len(names) != len(there) or (named and sorted(names) != sorted(there)):
            raise TrialFailed("inputs", f"are declared as {names}, and the model takes {there}")
        by_name = {each["name"]: each for each in found}
        for position, each in enumerate(declared):
            _compare(f"inputs.{position}", each, by_name[each["name"]] if named else found[position])
        return declared
    for each in found:
        if each["dtype"] not in set(DType):
            raise TrialFailed("inputs", f"{each['name']} is {each['dtype']}, which no package can have")
        if any(not isinstance(size, int) for size in each["shape"][1:]) or not each["shape"]:
            raise TrialFailed(
                "inputs", f"{each['name']} is left open in the file ({each['shape']}): describe its shape"
            )
    return [{**each, "shape": ["batch", *each["shape"][1:]]} for each in found]


def _compare(where: str, declared: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    sizes, real = list(declared["shape"][1:]), found["shape"][1:]
    fits = len(sizes) == len(real) and all(
        not isinstance(size, int) or size == mine for size, mine in zip(real, sizes, strict=True)
    )
    if not fits or declared["dtype"] != found["dtype"]:
        raise TrialFailed(
            where,
            f"is declared as {declared['dtype']} {sizes} a sample, and the model takes {found['dtype']} {real}",
        )
