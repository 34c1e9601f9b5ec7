"""What a file says of itself: its format by its content, and under which name a package holds it."""

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from runtime.errors import PackageError
from runtime.package.archives import check_archive, without_pickles
from runtime.package.files import opened
from runtime.package.parts import Format

_TORCH_SUFFIXES: Final = (".pt", ".pth", ".ts", ".pt2")
MOST_WEIGHTS_BYTES: Final = 1 << 34


@dataclass(frozen=True, slots=True)
class Source:
    """A model as it came: its files by name, which of them runs, and the keys of `model.toml` that it says itself."""

    place: Path
    weights: str | None
    files: Mapping[str, bytes]
    says: Mapping[str, Any] = field(default_factory=dict)
    state: bytes | None = None  # weights without their network, which is said in `network`
    network: Mapping[str, Any] | None = None


def read_file(path: Path) -> Source:
    """Read an .onnx, .ts, .pt, .pth or .pt2 file. Raises `PackageError`."""
    data = read_weights(path)
    kind = format_of(path, data)
    name = f"model{kind}"
    return Source(path, name, {name: data}, {"name": as_name(path.stem)})


def read_weights(path: Path) -> bytes:
    """The bytes of the file, which must be a regular one of at most 16 GiB."""
    with opened(path) as stream:
        data = stream.read(MOST_WEIGHTS_BYTES + 1)
    if len(data) > MOST_WEIGHTS_BYTES:
        raise PackageError(path, "", "is larger than 16 GiB")
    return data


def format_of(path: Path, data: bytes) -> Format:
    """The format by suffix and content. Raises `PackageError` for what must be saved in another way first."""
    if path.suffix == Format.ONNX:
        return Format.ONNX
    if path.suffix not in _TORCH_SUFFIXES:
        known = ", ".join((Format.ONNX, *_TORCH_SUFFIXES))
        raise PackageError(path, "", f"is no kind of file that can be imported; known suffixes: {known}")
    check_archive(path, data)
    with zipfile.ZipFile(BytesIO(data)) as archive:
        inside = {name.partition("/")[2] for name in archive.namelist()}
    if "models/model.json" in inside:
        without_pickles(path, data)
        return Format.TORCH_EXPORT
    if "constants.pkl" in inside and any(name.startswith("code/") for name in inside):
        return Format.TORCHSCRIPT
    raise PackageError(
        path, "", "holds weights or a pickled object, and no program: save the model with torch.export.save"
    )


def as_name(text: str) -> str:
    """A package's name made of a file's or a bundle's."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip("-.")[:64].lower() or "model"
