"""MLServer, a server of the Open Inference Protocol (REST and gRPC), in an environment of its own, as a child process.

`python -m tests.peers.mlserver install` makes the environment (`.cache/mlserver`) from `requirements/mlserver.lock`;
`make test` calls it. What it serves is in `tests/peers/mlserver_models`, beside which nothing of this project is there.
"""

import hashlib
import json
import os
import subprocess
import sys
import venv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.peers.process import PeerProcess, free_port
from tests.waiting import wait_until

_ROOT = Path(__file__).parents[2]
_LOCK = _ROOT / "requirements" / "mlserver.lock"
_ENVIRONMENT = _ROOT / ".cache" / "mlserver"
_STAMP = _ENVIRONMENT / ".installed-from"
_MODELS = Path(__file__).with_name("mlserver_models")
_LOOPBACK = Path(__file__).with_name("loopback")


def _wanted() -> str:
    return hashlib.sha256(_LOCK.read_bytes() + sys.version.encode()).hexdigest()


def installed() -> bool:
    """Whether the environment holds what the lock names."""
    return _STAMP.exists() and _STAMP.read_text() == _wanted()


def install() -> None:
    """Make the environment, unless it is there already. MLServer works on later Pythons than it says."""
    if installed():
        return
    print("Installing MLServer, which the tests talk to, into an environment of its own", file=sys.stderr)
    venv.create(_ENVIRONMENT, clear=True, with_pip=True)
    command = [_ENVIRONMENT / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-input", "--no-deps"]
    command += ["--require-hashes", "--ignore-requires-python", "-r", _LOCK]
    if subprocess.run(command).returncode != 0:
        raise SystemExit(f"pip could not install what {_LOCK.name} names; see above")
    _STAMP.write_text(_wanted())


class MlServer:
    """A running server. `served` says for each model its class in `mlserver_models`, its tensors and its parameters."""

    def __init__(self, folder: Path, served: Mapping[str, Mapping[str, Any]]) -> None:
        self.http_port, self.grpc_port = free_port(), free_port()
        settings = {
            "host": "127.0.0.1",
            "http_port": self.http_port,
            "grpc_port": self.grpc_port,
            "metrics_endpoint": None,
            "parallel_workers": 0,
            "debug": False,
        }
        (folder / "settings.json").write_text(json.dumps(settings))
        for name, model in served.items():
            (folder / name).mkdir()
            (folder / name / "model-settings.json").write_text(json.dumps({"name": name, **model}))
        self.process = PeerProcess(
            [_ENVIRONMENT / "bin" / "mlserver", "start", folder],
            log=folder / "mlserver.log",
            cwd=folder,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(map(str, (_LOOPBACK, _MODELS)))},
        )
        self.urls = (f"http://127.0.0.1:{self.http_port}", f"grpc://127.0.0.1:{self.grpc_port}")
        wait_until(self._ready, "MLServer to be ready", 60)

    def _ready(self) -> bool:
        import httpx

        assert self.process.running, f"MLServer ended at once:\n{self.process.output()}"
        try:
            return httpx.get(f"{self.urls[0]}/v2/health/ready", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        """End the process."""
        self.process.stop()


_NUMPY_TO_PROTOCOL = {"float16": "FP16", "float32": "FP32", "float64": "FP64"}


def tensors(declared: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The tensors of a `model.toml` as MLServer's settings have them."""
    return [
        {
            "name": spec["name"],
            "datatype": _NUMPY_TO_PROTOCOL.get(spec["dtype"], spec["dtype"].upper()),
            "shape": [-1 if size == "batch" else size for size in spec["shape"]],
        }
        for spec in declared
    ]


@pytest.fixture(scope="session")
def mlserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlServer]:
    """Serves `tests.runtime.backends.networks`' network as "network", all dtypes as "echo", and "faulty"."""
    import numpy as np

    from tests.runtime.backends import networks

    folder = tmp_path_factory.mktemp("mlserver")
    np.savez(folder / "weights.npz", **networks.weights())
    echoed = networks.echo_description()
    described = networks.description()
    server = MlServer(
        folder,
        {
            "network": {
                "implementation": "served.Network",
                "inputs": tensors(described["inputs"]),
                "outputs": tensors(described["outputs"]),
                "parameters": {"uri": str(folder / "weights.npz"), "version": "2"},
            },
            "echo": {
                "implementation": "served.Echo",
                "inputs": tensors(echoed["inputs"]),
                "outputs": tensors(echoed["outputs"]),
            },
            "silent": {"implementation": "served.Network", "parameters": {"uri": str(folder / "weights.npz")}},
            "guarded": {
                "implementation": "served.Guarded",
                "parameters": {"uri": str(folder / "weights.npz"), "extra": {"token": "open-sesame"}},
            },
            "faulty": {"implementation": "served.Faulty"},
        },
    )
    yield server
    server.stop()


if __name__ == "__main__":
    if sys.argv[1:] != ["install"]:
        raise SystemExit("usage: python -m tests.peers.mlserver install")
    install()
