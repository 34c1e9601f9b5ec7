"""Archives within packages that could do harm when a library opens them: `.npz` files, and `.pt2` files of PyTorch.

What they would unpack to is bounded before anything is unpacked. Of a `.pt2` file only what computes is handed on: its
reader in PyTorch would unpickle sample inputs, load native code, look up any function by name and evaluate expressions
as Python (`torch.export.load` itself warns of that), so all of those are left out or refused here.
"""

import ast
import io
import json
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

from runtime.errors import PackageError

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

MOST_ARRAY_BYTES: Final = 1 << 30
_NO_NUMBERS: Final = "is no array of plain numbers"
_MOST_MEMBERS: Final = 65_536
_MOST_EXPANSION: Final = 4
_SPARE_BYTES: Final = 1 << 24
_MOST_GRAPH_BYTES: Final = 1 << 28

_DAMAGED: Final = (zlib.error, lzma.LZMAError)

_NAME: Final = re.compile(r"[A-Za-z0-9_.:-]{1,200}")
_TENSOR_MEMBERS: Final = re.compile(r"data/(weights/weight|constants/tensor)_\d+")
_CONFIG_MEMBERS: Final = re.compile(r"data/(weights/model_weights|constants/model_constants)_config\.json")
_PLAIN_MEMBERS: Final = re.compile(r"archive_format|archive_version|byteorder|\.data/(version|serialization_id)")
_GRAPH: Final = "models/model.json"
_SAMPLE_INPUTS: Final = "data/sample_inputs/model.pt"
_TARGETS: Final = re.compile(
    r"torch\.ops\.(aten|prims|quantized_decomposed)\.(?!from_file)\w+\.\w+|torch\.sym_\w+"
    r"|_operator\.(getitem|add|sub|mul|truediv|floordiv|mod|pow|neg|eq|ne|lt|le|gt|ge|and_|or_|not_)"
)
_SYMBOL: Final = re.compile(r"[A-Za-z]\w{0,63}")
_FUNCTIONS: Final = frozenset(
    (
        *("Symbol", "Integer", "Rational", "Float", "Add", "Mul", "Pow", "Max", "Min", "Mod", "PythonMod", "FloorDiv"),
        *("CeilDiv", "CleanDiv", "ModularIndexing", "Abs", "Eq", "Ne", "Gt", "Ge", "Lt", "Le", "And", "Or", "Not"),
    )
)
_MOST_POWERS: Final = 4
_EXPRESSION_NODES: Final = (
    *(ast.Expression, ast.Constant, ast.Name, ast.Load, ast.Call, ast.keyword, ast.BinOp, ast.UnaryOp),
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.USub),
    *(ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE),
)


def read_arrays(file: Path, data: bytes, most_bytes: int = MOST_ARRAY_BYTES) -> dict[str, Array]:
    """The arrays of a .npz file by name, never unpickled. `data` are its bytes, which `file` holds.

    Raises `PackageError`, also for one that would unpack to more than `most_bytes`.
    """
    found: dict[str, Array] = {}
    with _archive(file, data, most_bytes) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            try:
                array = np.lib.format.read_array(io.BytesIO(_content(file, archive, member)), allow_pickle=False)
            except (
                ValueError,
                EOFError,
                MemoryError,
                OverflowError,
                SyntaxError,
                RecursionError,
                TypeError,
                LookupError,
            ):
                raise PackageError(file, name[:200], _NO_NUMBERS) from None
            if array.dtype.kind not in "iuf":  # dates, texts and records are plain to numpy
                raise PackageError(file, name[:200], _NO_NUMBERS)
            found[name] = array
    return found


def write_arrays(arrays: Mapping[str, Array]) -> bytes:
    """The bytes of a .npz file of these arrays, which `read_arrays` reads."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue(), zipfile.ZIP_DEFLATED)
    return made.getvalue()


def without_pickles(file: Path, data: bytes) -> bytes:
    """The `.pt2` archive `data` anew, with its graph, its weights and nothing else. Raises `PackageError`."""
    made = io.BytesIO()
    with _archive(file, data, _most_bytes(data)) as archive, zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as clean:
        roots = {member.filename.partition("/")[0] for member in archive.infolist()}
        if len(roots) != 1:
            raise PackageError(file, "", "is no archive that torch.export.save of PyTorch 2.8 or later has made")
        for member in archive.infolist():
            name = member.filename.partition("/")[2]
            content = _cleared(file, name, _content(file, archive, member))
            clean.writestr(zipfile.ZipInfo(member.filename), content)
        if _GRAPH not in {name.partition("/")[2] for name in clean.namelist()}:
            raise PackageError(file, "", f"holds no {_GRAPH}; make it with torch.export.save")
    return made.getvalue()


def check_archive(file: Path, data: bytes) -> None:
    """Raise `PackageError` if the zip archive would unpack to far more than it is (TorchScript)."""
    with _archive(file, data, _most_bytes(data)):
        pass


def _most_bytes(data: bytes) -> int:
    """What an archive of weights may unpack to: they hardly compress, and PyTorch does not even try."""
    return _MOST_EXPANSION * len(data) + _SPARE_BYTES


def _archive(file: Path, data: bytes, most_bytes: int) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, struct.error):
        raise PackageError(file, "", "is no zip archive, or a damaged one") from None
    members = archive.infolist()
    if len(members) > _MOST_MEMBERS or len({member.filename for member in members}) != len(members):
        raise PackageError(file, "", "has too many members, or two of one name")
    unpacked = sum(member.file_size for member in members)
    if unpacked > most_bytes:
        raise PackageError(
            file, "", f"has {len(data)} bytes and would unpack to {unpacked}, more than the {most_bytes} allowed"
        )
    return archive


def _content(file: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Unpack one member, never to more than it declares."""
    try:
        with archive.open(member) as stream:
            content = stream.read(member.file_size + 1)
    except (zipfile.BadZipFile, ValueError, RuntimeError, NotImplementedError, OSError, EOFError, *_DAMAGED):
        raise PackageError(file, "", "has a damaged member") from None
    if len(content) != member.file_size:
        raise PackageError(file, "", "has a member of another size than it declares")
    return content


def _cleared(file: Path, name: str, content: bytes) -> bytes:
    if _TENSOR_MEMBERS.fullmatch(name) or _PLAIN_MEMBERS.fullmatch(name):
        return content
    if name == _SAMPLE_INPUTS:
        return b""  # a pickle that nothing needs
    if _CONFIG_MEMBERS.fullmatch(name):
        _check_config(file, name, _json(file, name, content))
        return content
    if name == _GRAPH:
        return json.dumps(_clear_graph(file, _json(file, name, content))).encode()
    shown = name if _NAME.fullmatch(name.replace("/", "")) else "a member"
    raise PackageError(file, "", f"holds {shown}, which is more than graph and weights; save it anew without it")


def _json(file: Path, name: str, content: bytes) -> Any:
    if len(content) > _MOST_GRAPH_BYTES:
        raise PackageError(file, name, "is too large")
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise PackageError(file, name, "is not JSON") from None


def _check_config(file: Path, name: str, config: Any) -> None:
    """Every tensor must be stored as raw numbers."""
    entries: Any = config.get("config") if isinstance(config, dict) else None
    folder = name.split("/")[1]
    entry: Any
    for entry in entries.values() if isinstance(entries, dict) else [None]:
        known = isinstance(entry, dict) and isinstance(entry.get("path_name"), str)
        if not known or not _TENSOR_MEMBERS.fullmatch(f"data/{folder}/{entry['path_name']}"):
            raise PackageError(file, name, "names something else than tensors; such a file is never loaded")
        if entry.get("use_pickle") is not False:
            raise PackageError(file, name, "holds a pickled tensor; save it with plain dense tensors only")


def _clear_graph(file: Path, graph: Any) -> Any:
    if not isinstance(graph, dict):
        raise PackageError(file, _GRAPH, "is no graph")
    for table in _tables(graph):
        if "expr_str" in table:
            _check_expression(file, table["expr_str"])
        if "nodes" in table:
            _clear_nodes(file, table["nodes"])
    return {**graph, "guards_code": []}


def _clear_nodes(file: Path, nodes: Any) -> None:
    node: Any
    for node in nodes if isinstance(nodes, list) else [None]:
        target = node.get("target") if isinstance(node, dict) else None
        if not isinstance(target, str) or not _TARGETS.fullmatch(target):
            shown = target if isinstance(target, str) and _NAME.fullmatch(target) else "something"
            raise PackageError(file, _GRAPH, f"calls {shown}, which is no operation on tensors that is known here")
        node["metadata"] = {}  # where it was made: paths of that machine, names to look up


def _tables(value: Any) -> Iterator[dict[str, Any]]:
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield found
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found


def _check_expression(file: Path, text: Any) -> None:
    """A size is written as arithmetic on symbols: nothing else may reach what evaluates it."""
    problem = PackageError(file, _GRAPH, "holds an expression that is more than arithmetic on sizes")
    if not isinstance(text, str) or len(text) > 1000:
        raise problem
    try:
        nodes = list(ast.walk(ast.parse(text.strip(), mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise problem from None
    if not _can_be_computed(nodes):
        raise problem
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    for node in nodes:
        plain = isinstance(node, _EXPRESSION_NODES)
        if isinstance(node, ast.Constant):
            plain = isinstance(node.value, int | float) or (
                isinstance(node.value, str) and bool(_SYMBOL.fullmatch(node.value))
            )
        elif isinstance(node, ast.keyword):  # of a symbol: positive=True, integer=True
            plain = isinstance(node.value, ast.Constant) and isinstance(node.value.value, bool)
        elif isinstance(node, ast.Call):
            plain = isinstance(node.func, ast.Name)
        elif isinstance(node, ast.Name):
            plain = node.id in _FUNCTIONS if id(node) in called else bool(_SYMBOL.fullmatch(node.id))
        if not plain:
            raise problem


def _can_be_computed(nodes: Iterable[ast.AST]) -> bool:
    """Whether its powers are few and small: 9 to the 9th to the 9th is arithmetic, too, and takes for ever."""
    exponents: list[ast.AST] = []
    for node in nodes:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
            exponents.append(node.right)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Pow":
            exponents += node.args[1:]
    return len(exponents) <= _MOST_POWERS and all(_is_small(exponent) for exponent in exponents)


def _is_small(exponent: ast.AST) -> bool:
    """Of the forms 2, -2, Integer(2) and Integer(-2)."""
    if isinstance(exponent, ast.Call) and len(exponent.args) == 1:
        exponent = exponent.args[0]
    if isinstance(exponent, ast.UnaryOp):
        exponent = exponent.operand
    return isinstance(exponent, ast.Constant) and isinstance(exponent.value, int) and exponent.value <= _MOST_POWERS
