"""MONAI bundles (MONAI Bundle Specification): `configs/metadata.json`, and the model under `models/`.

Of the configuration only literal values are read. Its expressions (``$…``) are Python and are never evaluated, its
classes only those of `monai.networks.nets`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from runtime.errors import PackageError
from runtime.importing.sources import Source, as_name, format_of, read_weights
from runtime.package.files import opened
from runtime.package.parts import Format

_METADATA: Final = Path("configs", "metadata.json")
_INFERENCE: Final = Path("configs", "inference.json")
_PROGRAMS: Final = ("model.pt2", "model.ts", "model.onnx")
_STATE: Final = Path("models", "model.pt")
_NETS: Final = "monai.networks.nets."
_MOST_JSON_BYTES: Final = 1 << 20
_MOST_REFERENCES: Final = 16
_SAYS: Final = (("version", "version"), ("intended_use", "intended_use"), ("training_data", "data_source"))


def is_bundle(path: Path) -> bool:
    """Whether the folder is a MONAI bundle."""
    return (path / _METADATA).is_file()


def read_bundle(path: Path, details: Mapping[str, Any]) -> Source:
    """Read a bundle; `details` may fix what it leaves open (``inputs``). Raises `PackageError`."""
    file = path / _METADATA
    metadata, raw = _json(file)
    formats = metadata.get("network_data_format")
    if not isinstance(formats, dict):
        raise PackageError(file, "network_data_format", "is missing: it says what the network takes and gives")
    says: dict[str, Any] = {"name": as_name(str(metadata.get("name") or path.resolve().name))}
    for ours, theirs in (*_SAYS, ("licence", "license")):
        if isinstance(metadata.get(theirs), str) and metadata[theirs].strip():
            says[ours] = metadata[theirs]
    metrics = metadata.get("eval_metrics")
    if isinstance(metrics, dict):
        says["metrics"] = {name: value for name, value in metrics.items() if type(value) in (int, float)}
    if "inputs" not in details:
        says["inputs"] = [_input(file, *item) for item in _tensors(file, formats, "inputs")]
    if "outputs" not in details:
        says["outputs"] = [_output(*item) for item in _tensors(file, formats, "outputs")]
    documents = {"monai-metadata.json": raw}
    for name in _PROGRAMS:
        if (path / "models" / name).is_file():
            data = read_weights(path / "models" / name)
            stored = f"model{format_of(path / 'models' / name, data)}"
            return Source(path, stored, {stored: data, **documents}, says)
    return _without_program(path, says, documents)


def _without_program(path: Path, says: dict[str, Any], documents: dict[str, bytes]) -> Source:
    """A bundle whose model is a plain state dict, for a network that its configuration describes."""
    if not (path / _STATE).is_file():
        wanted = ", ".join((*_PROGRAMS, _STATE.name))
        raise PackageError(path / "models", "", f"holds no model; looked for: {wanted}")
    if not (path / _INFERENCE).is_file():
        raise PackageError(
            path / _INFERENCE,
            "",
            f"is not there, so {_STATE} has no network; export it with `python -m monai.bundle ckpt_export`",
        )
    config, _ = _json(path / _INFERENCE)
    network = _resolved(path / _INFERENCE, config, config.get("network_def"), 0)
    target = network.get("_target_") if isinstance(network, dict) else None
    name = target.removeprefix(_NETS) if isinstance(target, str) else ""
    if not name.isidentifier() or name.startswith("_"):
        raise PackageError(
            path / _INFERENCE,
            "network_def",
            "is no network of monai.networks.nets; code of a bundle is never run: export it with "
            "`python -m monai.bundle ckpt_export`",
        )
    network = {**network, "_target_": name}
    state = read_weights(path / _STATE)
    return Source(path, f"model{Format.TORCH_EXPORT}", documents, says, state, network)


def _json(file: Path) -> tuple[dict[str, Any], bytes]:
    with opened(file) as stream:
        raw = stream.read(_MOST_JSON_BYTES + 1)
    try:
        value = json.loads(raw) if len(raw) <= _MOST_JSON_BYTES else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise PackageError(file, "", "is no JSON object of at most 1 MiB")
    return value, raw


def _tensors(file: Path, formats: Mapping[str, Any], key: str) -> list[tuple[str, dict[str, Any]]]:
    tensors = formats.get(key)
    if not isinstance(tensors, dict) or not tensors or not all(isinstance(each, dict) for each in tensors.values()):
        raise PackageError(file, f"network_data_format.{key}", "names no tensors")
    return list(tensors.items())


def _input(file: Path, name: str, tensor: Mapping[str, Any]) -> dict[str, Any]:
    channels, sides = tensor.get("num_channels"), tensor.get("spatial_shape")
    shape = [channels, *sides] if isinstance(sides, list) else [channels]
    if not all(type(size) is int and size > 0 for size in shape):
        raise PackageError(
            file,
            f"network_data_format.inputs.{name}",
            f"leaves its size open ({json.dumps(shape)[:80]}); fix it with [[inputs]] in the description",
        )
    return {"name": name, "dtype": tensor.get("dtype", "float32"), "shape": ["batch", *shape]}


def _output(name: str, tensor: Mapping[str, Any]) -> dict[str, Any]:
    """Its name, and its channels to be compared with what the network gives."""
    said: dict[str, Any] = {"name": name}
    if type(tensor.get("num_channels")) is int:
        said["channels"] = tensor["num_channels"]
    return said | ({"role": "mask"} if tensor.get("format") == "segmentation" else {})


def _resolved(file: Path, config: Mapping[str, Any], value: Any, depth: int) -> Any:
    """The literal that the value stands for: ``@name`` refers to another key of the configuration."""
    if depth > _MOST_REFERENCES:
        raise PackageError(file, "network_def", "refers to itself")
    if isinstance(value, str) and value.startswith("@"):
        found: Any = config
        for step in value[1:].replace("#", "::").split("::"):
            found = found.get(step) if isinstance(found, dict) else None
        return _resolved(file, config, found, depth + 1)
    if isinstance(value, str) and value.startswith(("$", "%")):
        raise PackageError(file, "network_def", "holds an expression, which is code and is never run; write its value")
    if isinstance(value, dict):
        return {key: _resolved(file, config, each, depth + 1) for key, each in value.items()}
    if isinstance(value, list):
        return [_resolved(file, config, each, depth + 1) for each in value]
    return value
