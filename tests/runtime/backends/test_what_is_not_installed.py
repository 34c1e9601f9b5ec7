"""The runtime without PyTorch and without tritonclient: only the packages that need them are without a route."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.runtime.backends.networks import description, make_package, write_check

_BLOCKED = """
import sys
from importlib.abc import MetaPathFinder

class Blocked(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "tritonclient", "gevent", "grpc"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
"""


def _run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", _BLOCKED + code], capture_output=True, text=True, timeout=60)


def test_the_bundled_packages_are_served_without_them() -> None:
    done = _run("""
from pathlib import Path
import pipelines
from runtime import LocalRuntime, ModelPackage
packages = [ModelPackage.load(f.parent) for f in Path(pipelines.__file__).parent.glob("packages/*/model.toml")]
with LocalRuntime(packages, threads=1) as runtime:
    print(*sorted(model.name for model in runtime.models()))
""")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "chest-xray-3class ct-lesion-sample news2"


def test_the_daemon_and_its_runtime_process_import_neither() -> None:
    done = _run(
        "import daemon.cli, daemon.children.runtime, runtime.server, runtime.backend, runtime.parity; print('ok')"
    )
    assert (done.stdout, done.stderr) == ("ok\n", "")


@pytest.mark.parametrize(("file", "extra"), [("model.ts", "torch"), ("model.pt2", "torch"), (None, "remote")])
def test_a_package_that_needs_them_says_what_to_install(tmp_path: Path, file: str | None, extra: str) -> None:
    from runtime.package import write_package

    folder = make_package(tmp_path / "p").directory
    (folder / "model.onnx").unlink()
    write_check(folder)
    described = description(weights=file)
    if file:
        (folder / file).write_bytes(b"any")
    else:
        described["remote"] = {"url": "http://localhost:1", "model": "network", "tolerance": 0.1}
        del described["weights"]
    write_package(folder, described)
    done = _run(f"""
from pathlib import Path
from runtime import LocalRuntime, ModelPackage, RouteUnavailable
try:
    LocalRuntime([ModelPackage.load(Path({str(folder)!r}))])
except RouteUnavailable as error:
    print(error)
""")
    assert f"kopru[{extra}]" in done.stdout, done.stderr
