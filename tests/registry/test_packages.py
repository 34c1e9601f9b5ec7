"""Rolling back with packages as they lie on disk: the new one is broken, the old one has gone."""

import shutil
from pathlib import Path

import pytest

from daemon.control import CommandFailed
from daemon.settings.defaults import bundled_packages
from runtime import ModelPackage
from tests.registry.test_versions import MODEL, stages
from tests.steps.conftest import make  # noqa: F401 - a fixture
from tests.steps.installation import Installation, Make

pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """Two versions of the chest model."""
    of_version = {}
    for version in ("8.0.0", "9.0.0"):
        folder = of_version[version] = tmp_path / f"chest-{version}"
        shutil.copytree(bundled_packages()[MODEL], folder)
        text, bundled = (folder / "model.toml").read_text(), ModelPackage.load(folder).version
        (folder / "model.toml").write_text(text.replace(f'version = "{bundled}"', f'version = "{version}"', 1))
    return of_version


@pytest.fixture
def installation(make: Make, folders: dict[str, Path], tmp_path: Path) -> Installation:  # noqa: F811
    packages = [str(folder) for folder in (*folders.values(), bundled_packages()["news2"])]
    sockets = {"socket": str(tmp_path / "runtime.sock"), "result_key_file": str(tmp_path / "result.key")}
    made = make(runtime={"threads": 1, "packages": packages, **sockets})
    made.ask("models.promote", model=MODEL, version="9.0.0")
    return made


def test_a_version_whose_package_is_broken_is_rolled_back(installation: Installation, folders: dict[str, Path]):
    (folders["9.0.0"] / "model.onnx").write_bytes(b"damaged")
    assert installation.ask("models.rollback", model=MODEL)["version"] == "8.0.0"
    assert stages(installation) == {"8.0.0": "production", "9.0.0": "retired"}
    with pytest.raises(CommandFailed, match=r"package of chest-xray-3class 9\.0\.0 is not among.*chest-9\.0\.0"):
        installation.ask("models.promote", model=MODEL, version="9.0.0")


def test_nothing_is_rolled_back_to_a_package_that_has_gone(installation: Installation, folders: dict[str, Path]):
    shutil.rmtree(folders["8.0.0"])
    with pytest.raises(CommandFailed, match=r"package of chest-xray-3class 8\.0\.0 is not among.*chest-8\.0\.0"):
        installation.ask("models.rollback", model=MODEL)
    assert stages(installation) == {"8.0.0": "retired", "9.0.0": "production"}
