"""The wheel holds everything that the program reads at run time, and works where only the wheel is."""

import os
import subprocess
import sys
import zipfile

import pytest

from tests.lint.files import ROOT, all_files

_PACKAGES = ("adapters", "anonymize", "daemon", "pipelines", "runtime", "training")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The wheel, built as `pip install` does and unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "site")
    return folder / "site"


def test_every_file_of_the_packages_is_in_the_wheel(unpacked):
    ours = {str(path.relative_to(ROOT)) for path in all_files() if path.relative_to(ROOT).parts[0] in _PACKAGES}
    assert {name for name in ours if not (unpacked / name).exists()} == set()


def test_tests_are_not_in_the_wheel(unpacked):
    assert not {"tests", "benchmarks", "requirements"} & {path.name for path in unpacked.iterdir()}


def test_migrations_run_from_the_wheel(unpacked, tmp_path):
    code = (
        "import sys, daemon\n"
        "from daemon.database import Database\n"
        "from daemon.database.migrate import migrate\n"
        "migrate(Database(f'sqlite+pysqlite:///{sys.argv[1]}'))\n"
        "print(daemon.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, tmp_path / "kopru.sqlite"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(unpacked))
