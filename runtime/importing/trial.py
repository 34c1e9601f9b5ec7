"""Runs a model once or twice before it becomes a package, and says what it takes and gives.

A file is tried in a process of its own that can use so much memory and time, writes no files, has no environment and,
where the kernel allows it, no network. What comes back from it is checked as anything foreign is.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from runtime.backend import RemoteAccess, open_backend
from runtime.errors import PackageError
from runtime.importing.shapes import TrialFailed, run_trial
from runtime.importing.sources import Source
from runtime.package import ModelPackage, Place, Route
from runtime.package.archives import Array, read_arrays
from runtime.package.parts import Format
from runtime.package.toml import explained

_SECONDS: Final = 300
_MOST_REPORT_BYTES: Final = 1 << 20
_STAND_IN: Final = "check.npz"


@dataclass(frozen=True, slots=True)
class Trial:
    """What was found. `answers` are the arrays of a check; `weights` the program that was made of a state dict."""

    inputs: Sequence[Mapping[str, Any]]
    outputs: Sequence[Mapping[str, Any]]
    one_at_a_time: bool
    answers: Mapping[str, Array] = field(default_factory=dict)
    weights: bytes | None = None


def try_model(source: Source, known: Mapping[str, Any], access: RemoteAccess) -> Trial:
    """Run the model on made-up inputs, one sample and two. Raises `PackageError`, `RemoteUnavailable`."""
    if source.weights is None:
        return _on_server(source, known, access)
    kind = Format.of(source.weights)
    request = {
        "kind": kind,
        "inputs": known.get("inputs"),
        "outputs": known.get("outputs"),
        "network": source.network,
    }
    data = source.state if source.state is not None else source.files[source.weights]
    with _memory(data) as given, _memory() as answers, _memory() as program:
        report = _in_a_process(source.place, request, (given, answers, program))
        return _trial(source.place, report, _contents(answers), _contents(program) if source.state else None)


def _trial(place: Path, report: Any, answers: bytes, program: bytes | None) -> Trial:
    if not isinstance(report, dict):
        raise PackageError(place, "", "the trial gave no report")
    if "problem" in report:
        raise PackageError(place, str(report.get("key", "")), str(report["problem"])[:500])
    if not (isinstance(report.get("inputs"), list) and isinstance(report.get("outputs"), list)):
        raise PackageError(place, "", "the trial gave no report")
    return Trial(
        inputs=report["inputs"],
        outputs=report["outputs"],
        one_at_a_time=bool(report.get("one_at_a_time")),
        answers=read_arrays(place, answers) if answers else {},
        weights=program,
    )


def _in_a_process(place: Path, request: Mapping[str, Any], descriptors: tuple[int, ...]) -> Any:
    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1",
    }
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", "runtime.importing.trying", *map(str, descriptors)],
                input=json.dumps(request).encode(),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=_SECONDS,
                cwd=folder,
                env=environment,
                pass_fds=descriptors,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise PackageError(place, "", f"did not answer within {_SECONDS} s when it was tried") from None
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise PackageError(place, "", f"the process that tried it ended by {name}: it is broken, or wants too much")
    try:
        return json.loads(done.stdout[:_MOST_REPORT_BYTES])
    except ValueError:
        raise PackageError(place, "", f"the process that tried it ended with {done.returncode}: it is broken") from None


@contextmanager
def _memory(data: bytes = b"") -> Iterator[int]:
    """A file that has no name and lies in memory."""
    descriptor = os.memfd_create("trial", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as stream:
            stream.write(data)
        yield descriptor
    finally:
        os.close(descriptor)


def _contents(descriptor: int) -> bytes:
    with os.fdopen(os.dup(descriptor), "rb") as stream:
        stream.seek(0)
        return stream.read()


def _on_server(source: Source, known: Mapping[str, Any], access: RemoteAccess) -> Trial:
    """Ask the server itself: what it runs is its own affair."""
    inputs, outputs = known.get("inputs"), known.get("outputs")
    for key, tables in (("inputs", inputs), ("outputs", outputs)):
        if not tables:
            raise PackageError(source.place, key, f"are not described by the server; describe them as [[{key}]]")
    assert inputs is not None
    assert outputs is not None
    backend = open_backend(_draft(source.place, known), Route(on=Place.REMOTE), threads=1, access=access)

    def run(batch: Mapping[str, Array]) -> Sequence[Array]:
        given = backend.run(dict(batch))
        missing = [str(each["name"]) for each in outputs if each["name"] not in given]
        if missing:
            raise TrialFailed("outputs", f"the server gives no {missing[0]!r}, only {sorted(given)}")
        return [given[each["name"]] for each in outputs]

    try:
        found = run_trial(inputs, outputs, run)
    except TrialFailed as error:
        raise PackageError(source.place, error.key, error.problem) from None
    finally:
        backend.close()
    return Trial(inputs, found.outputs, found.one_at_a_time, found.answers)


def _draft(place: Path, known: Mapping[str, Any]) -> ModelPackage:
    """The package as far as it can be described before its check is made."""
    keys = {key: value for key, value in known.items() if key in ModelPackage.model_fields}
    stand_in = {"files": {_STAND_IN: "0" * 64}, "check": {"file": _STAND_IN, "tolerance": 0.0}, "directory": str(place)}
    without = {key: value for key, value in keys.items() if key not in ("gate", "reference", "variants", "weights")}
    try:
        return ModelPackage.model_validate_json(json.dumps({**without, **stand_in}, default=str))
    except ValidationError as error:
        raise explained(place, error) from None
