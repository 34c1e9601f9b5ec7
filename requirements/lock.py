"""Makes the locks anew from pyproject.toml: exact versions with hashes, for every platform and Python from 3.11 on.

- runtime.lock: what the daemon needs, and what builds this package. Nothing of torch.
- remote.lock: what speaks to models on other servers, beside runtime.lock.
- dev.lock: both, and what the tests and checks need.
- peers.lock: other de-identifiers that the benchmarks run beside ours, and what they need beside dev.lock.
- torch.lock: torch and what it needs beside dev.lock, with the hashes of its CUDA build (the one on PyPI) and of its
  CPU build (where pip is offered one). Installed without dependencies, since the two builds' differ.
- cuda.lock: the libraries that only the CUDA build needs.
- mlserver.lock: the peer that serves models in the tests, in an environment of its own (it needs an older world).

Run by `make lock`. Locks name neither hosts nor paths, so that they hold behind any mirror.
"""

import hashlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = HERE.parent / "pyproject.toml"
_COMPILE = [
    *("uv", "pip", "compile", "--quiet", "--upgrade", "--universal", "--python-version", "3.11", "--generate-hashes"),
    *("--no-annotate", "--no-header", "--no-emit-index-url", "--no-emit-find-links"),
]
_MLSERVER = "mlserver==1.7.1"
_CUDA = re.compile(r"nvidia-|cuda-|triton==")

Entries = dict[str, str]  # requirement line ("torch==2.13.0") to the whole entry with its hashes


def _compile(*options: str, constraint: Path | None = None) -> Entries:
    """Resolve what pyproject.toml asks for."""
    return _resolve([*options, *(["--constraint", str(constraint)] if constraint else []), PROJECT.name])


def _resolve(arguments: list[str], requirements: str = "", folder: Path = PROJECT.parent) -> Entries:
    answer = subprocess.run([*_COMPILE, *arguments], cwd=folder, input=requirements, capture_output=True, text=True)
    if answer.returncode != 0:
        raise SystemExit(answer.stderr)
    entries = re.split(r"\n(?=\S)", answer.stdout.strip())
    return {entry.partition(" \\\n")[0]: entry for entry in entries}


def _write(name: str, entries: Entries) -> Path:
    path = HERE / name
    path.write_text("# Made by `make lock`; do not edit.\n" + "\n".join(entries.values()) + "\n")
    print(f"{path.relative_to(PROJECT.parent)}: {len(entries)} packages")
    return path


def _beside(there: Entries, wanted: Entries) -> Entries:
    """What is wanted and not there. Markers differ from one resolution to the next."""
    versions = {name.partition(" ;")[0] for name in there}
    return {name: entry for name, entry in wanted.items() if name.partition(" ;")[0] not in versions}


def _cpu_build_hash(requirement: str) -> str:
    """The hash of torch's CPU build: of the file that pip is offered here, else the one in the lock that stands."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            folder,
            requirement + "+cpu",
        ]
        if subprocess.run(command, capture_output=True).returncode == 0:
            return hashlib.sha256(next(Path(folder).iterdir()).read_bytes()).hexdigest()
    old = HERE / "torch.lock"
    found = re.search(rf"# CPU build of {re.escape(requirement)}: (\w{{64}})", old.read_text() if old.exists() else "")
    if not found:
        raise SystemExit(f"{requirement}: pip is offered no CPU build here and the lock that stands names none")
    return found[1]


def main() -> None:
    """Write them all."""
    served = _compile("--group", "build")
    runtime = _write("runtime.lock", served)
    _write("remote.lock", _beside(served, _compile("--extra", "remote", constraint=runtime)))
    dev = _compile("--group", "build", "--group", "dev", constraint=runtime)
    dev_lock = _write("dev.lock", dev)
    with_peers = _compile("--group", "build", "--group", "dev", "--group", "peers", constraint=dev_lock)
    _write("peers.lock", _beside(dev, with_peers))
    with_torch = _compile("--extra", "torch", constraint=dev_lock)
    beside = _beside(dev, with_torch)
    cuda = {name: entry for name, entry in beside.items() if _CUDA.match(name)}
    cpu = {name: entry for name, entry in beside.items() if name not in cuda}
    requirement = next(name for name in cpu if name.startswith("torch=="))
    digest = _cpu_build_hash(requirement)
    cpu[requirement] = f"# CPU build of {requirement}: {digest}\n{cpu[requirement]} \\\n    --hash=sha256:{digest}"
    _write("torch.lock", cpu)
    _write("cuda.lock", cuda)
    _write("mlserver.lock", _resolve(["--no-config", "-"], _MLSERVER))


if __name__ == "__main__":
    main()
