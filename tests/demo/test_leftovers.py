"""What an earlier demo left among the temporary files goes at the next one, unless it is still in use."""

import fcntl
import os
from pathlib import Path

import pytest

from daemon.demo.scene import remove_leftovers


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """The folder of a demo that was kept running and has ended since."""
    folder = tmp_path / "kopru-demo-abcd"
    folder.mkdir()
    (tmp_path / "out" / "data").mkdir(parents=True)
    (folder / ".kopru-demo").write_text(str(tmp_path / "out" / "data"))
    (folder / "engine.lock").touch()
    return folder


def test_what_an_ended_demo_left_is_removed_and_what_it_wrote_is_not(left: Path, tmp_path: Path):
    remove_leftovers(tmp_path)
    assert not left.exists()
    assert (tmp_path / "out" / "data").is_dir()


def test_it_is_removed_too_when_the_demos_folder_is_gone(left: Path, tmp_path: Path):
    (tmp_path / "out" / "data").rmdir()
    remove_leftovers(tmp_path)
    assert not left.exists()
    assert not (tmp_path / "out" / "data").exists()


def test_it_stays_while_the_daemon_runs(left: Path, tmp_path: Path):
    with (tmp_path / "out" / "data" / "serve.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        remove_leftovers(tmp_path)
    assert left.is_dir()


def test_it_stays_while_the_demo_plays(left: Path, tmp_path: Path):
    with (left / ".kopru-demo").open() as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)
        remove_leftovers(tmp_path)
    assert left.is_dir()


def test_nothing_else_is_touched(left: Path, tmp_path: Path):
    (left / ".kopru-demo").unlink()  # no demo's, whatever it is called
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / ".kopru-demo").write_text("/nowhere")
    os.symlink(victim, tmp_path / "kopru-demo-link")
    remove_leftovers(tmp_path)
    assert left.is_dir()
    assert victim.is_dir()
