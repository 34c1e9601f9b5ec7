"""The peers that tests rely on start, answer and are gone afterwards; a missing one is listed, or fails on demand."""

import os
import subprocess
import sys

import pytest
import sqlalchemy as sa

from tests.peers.availability import ROOT


@pytest.mark.dcmtk
def test_dcmtk_runs(dcmtk):
    done = dcmtk("echoscu", "--version")
    assert "dcmtk" in done.stdout + done.stderr


@pytest.mark.orthanc
def test_orthanc_answers(orthanc):
    assert orthanc.studies() == []


@pytest.mark.orthanc
@pytest.mark.dcmtk
def test_orthanc_answers_c_echo(orthanc, dcmtk):
    dcmtk("echoscu", "-aec", orthanc.aet, "127.0.0.1", orthanc.dicom_port)


@pytest.mark.postgresql
def test_postgresql_keeps_what_it_confirms(postgresql_server):
    name = postgresql_server.create()
    engine = sa.create_engine(postgresql_server.url(name))
    with engine.connect() as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert connection.execute(sa.text(f"SHOW {setting}")).scalar_one() == "on"
    engine.dispose()
    assert b"PostgreSQL database dump" in postgresql_server.dump(name)
    postgresql_server.drop(name)


@pytest.mark.node
def test_node_runs():
    from tests.peers.node import node_command

    assert subprocess.run([node_command(), "-e", "process.exit(7)"]).returncode == 7


@pytest.fixture
def run_without_dcmtk(tmp_path):
    """A pytest run of a test that needs dcmtk, with nothing on the path."""

    def run(**environment):
        test = tmp_path / "test_it.py"
        test.write_text("import pytest\n@pytest.mark.dcmtk\ndef test_with_dcmtk():\n    assert False\n")
        code = (
            "import sys, pytest, tests.peers.availability as a\n"
            "a.BY_MARKER['dcmtk'].__dict__['present'] = False\n"
            "sys.exit(pytest.main(['-p', 'no:cacheprovider', '-p', 'tests.conftest', '--rootdir', sys.argv[1],"
            " '-c', '/dev/null', sys.argv[1]]))"
        )
        return subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            cwd=ROOT,
            env={**os.environ, "KOPRU_REQUIRE_PEERS": "", **environment},
            capture_output=True,
            text=True,
        )

    return run


def test_a_missing_peer_is_a_skip_that_is_listed_with_its_remedy(run_without_dcmtk):
    done = run_without_dcmtk()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "apt-get install dcmtk\n    test_it.py::test_with_dcmtk" in done.stdout


def test_a_missing_peer_is_a_failure_where_peers_are_demanded(run_without_dcmtk):
    done = run_without_dcmtk(KOPRU_REQUIRE_PEERS="1")
    assert done.returncode == 1
    assert "makes this a failure" in done.stdout
