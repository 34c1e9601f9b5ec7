"""The units that the project ships: how much systemd says they expose, and that they are units it understands."""

import re
import shutil
import subprocess
import sys

import pytest

from adapters.keys import MasterKey
from daemon.folders import open_master_key
from daemon.settings import load_settings
from tests.peers.availability import ROOT

pytestmark = pytest.mark.systemd
UNITS = ROOT / "systemd"


def _exposure(folder) -> float:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", folder / "kopru.service"],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
    )
    found = re.search(r"Overall exposure level for kopru\.service: ([\d.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    return float(found[1])


def _install(folder, *, gpu=False, change=lambda text: text):
    """The units as an administrator would place them; the program is one that exists."""
    text = (UNITS / "kopru.service").read_text().replace("/opt/kopru/bin/kopru", "/bin/true")
    (folder / "kopru.service").write_text(change(text))
    shutil.copy(UNITS / "kopru.socket", folder)
    if gpu:
        shutil.copytree(UNITS / "kopru.service.d", folder / "kopru.service.d")
    return folder


def test_the_service_exposes_little(tmp_path):
    assert _exposure(_install(tmp_path)) <= 2.0


def test_a_gpu_costs_only_what_the_drop_in_says(tmp_path):
    plain, gpu = tmp_path / "plain", tmp_path / "gpu"
    plain.mkdir()
    gpu.mkdir()
    assert _exposure(_install(plain)) < _exposure(_install(gpu, gpu=True)) <= 2.0


def test_the_measure_can_fail(tmp_path):
    dropped = re.compile(r"^(System|Protect|Restrict|Capability|NoNew|Private).*\n", re.MULTILINE)
    assert _exposure(_install(tmp_path, change=lambda text: dropped.sub("", text))) > 2.0


def test_the_master_key_comes_under_the_name_that_the_program_looks_for(tmp_path, monkeypatch):
    (name,) = re.findall(r"^LoadCredential=(.+):/etc/kopru/master.key$", (UNITS / "kopru.service").read_text(), re.M)
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / name).write_bytes(bytes(range(32)))
    (credentials / name).chmod(0o440)  # as systemd makes them, with an access list
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    environ = {"CREDENTIALS_DIRECTORY": str(credentials), "STATE_DIRECTORY": str(tmp_path / "state")}
    environ["RUNTIME_DIRECTORY"] = "/run/kopru"  # short enough for sockets, wherever tests write
    settings = load_settings(None, {}, environ).settings
    assert settings.keys.master_key_file == credentials / name
    assert open_master_key(settings).subkey("a") == MasterKey(bytes(range(32))).subkey("a")
    assert f"`{name}`" in (ROOT / "docs" / "installation.md").read_text()


def test_systemd_understands_the_units(tmp_path):
    folder = _install(tmp_path, gpu=True)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", folder / "kopru.socket", folder / "kopru.service"],
        capture_output=True,
        text=True,
    )
    assert [line for line in done.stderr.splitlines() if "kopru" in line] == []


_INFER_WITHOUT_WRITABLE_EXECUTABLE_MEMORY = """
import ctypes, mmap, sys
import numpy as np
PR_SET_MDWE, REFUSE_EXEC_GAIN = 65, 1  # prctl(2), Linux 6.3
if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0) != 0:
    sys.exit(77)
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
except OSError:
    pass
else:
    sys.exit("the kernel does not refuse")
import onnx
from onnx import TensorProto, helper
import onnxruntime
shape = [1, 3, 32, 32]
weights = helper.make_tensor("w", TensorProto.FLOAT, [8, 3, 3, 3], np.ones(216, np.float32))
nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["y"])]
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in (("x", shape), ("y", None))]
graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [weights])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
assert session.run(None, {"x": np.ones(shape, np.float32)})[0].max() == 27
import gdcm, psycopg, pydantic_core, cryptography.hazmat.primitives.ciphers.aead
"""


def test_inference_on_a_cpu_needs_no_memory_that_is_writable_and_executable():
    """What lets the unit keep MemoryDenyWriteExecute=yes."""
    done = subprocess.run(
        [sys.executable, "-c", _INFER_WITHOUT_WRITABLE_EXECUTABLE_MEMORY], capture_output=True, text=True
    )
    if done.returncode == 77:
        pytest.skip("this kernel has no PR_SET_MDWE")
    assert done.returncode == 0, done.stderr
