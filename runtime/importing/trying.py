"""The process that tries a model: ``python -m runtime.importing.trying WEIGHTS ANSWERS PROGRAM`` (descriptors).

It takes a request in JSON on standard input and gives a report in JSON on standard output; whatever the model prints
goes nowhere. It limits itself before it reads the first byte of the model.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

_CPU_SECONDS: Final = 600
_SPARE_ADDRESS_BYTES: Final = 16 << 30  # what PyTorch reserves without using it
_FILE_BYTES: Final = 16 << 30  # of the descriptors it was given; it has no other place to write to
_OPEN_FILES: Final = 256
_PARENT_DEATH_SIGNAL, _NO_NEW_PRIVILEGES = 1, 38  # prctl(2)
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000  # unshare(2)


def _limit() -> None:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, _CPU_SECONDS),
        (resource.RLIMIT_AS, _SPARE_ADDRESS_BYTES + memory // 2),
        (resource.RLIMIT_FSIZE, _FILE_BYTES),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
    ):
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (most, most) if hard in (-1, resource.RLIM_INFINITY) or most <= hard else (hard, hard))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    libc.unshare(_NEW_USER | _NEW_NETWORK)  # some kernels refuse it; then the network stays


def main() -> None:
    """Try the model that the request is about."""
    _limit()
    weights, answers, program = map(int, sys.argv[1:4])
    request = json.loads(sys.stdin.buffer.read())
    report = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    found = _tried(request, weights, answers, program)
    with os.fdopen(report, "wb") as stream:
        stream.write(json.dumps(found).encode())
        stream.flush()
    os._exit(0)  # a model's leftovers have no say in how this ends


def _tried(request: Mapping[str, Any], weights: int, answers: int, program: int) -> dict[str, Any]:
    from runtime.errors import PackageError
    from runtime.importing.readers import read_model
    from runtime.importing.shapes import TrialFailed, run_trial
    from runtime.package import write_arrays

    os.lseek(weights, 0, os.SEEK_SET)
    with os.fdopen(os.dup(weights), "rb") as stream:
        data = stream.read()
    try:
        model = read_model(request, data)
        found = run_trial(model.inputs, model.outputs, model.run)
    except (TrialFailed, PackageError) as error:
        return {"key": error.key, "problem": error.problem}
    except Exception as error:  # noqa: BLE001  # what a broken or hostile model makes of a library cannot be foreseen
        return {"key": "", "problem": f"cannot be run: {str(error).strip().partition(chr(10))[0][:400]}"}
    if found.answers:
        _write(answers, write_arrays(found.answers))
    if model.program is not None:
        _write(program, model.program)
    return {"inputs": list(model.inputs), "outputs": found.outputs, "one_at_a_time": found.one_at_a_time}


def _write(descriptor: int, data: bytes) -> None:
    with os.fdopen(os.dup(descriptor), "wb") as stream:
        stream.write(data)


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        main()
