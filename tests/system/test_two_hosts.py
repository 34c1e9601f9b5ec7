"""Two daemons on one PostgreSQL, store and key store, as two hosts are: one registry, one split, each study once."""

import json
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from daemon.control import CommandFailed
from daemon.settings.defaults import bundled_packages
from tests.steps.installation import image
from tests.system.kopru import Kopru
from tests.waiting import wait_until

pytestmark = pytest.mark.postgresql

MODEL = "chest-xray-3class"
STUDIES = 4


def shared(data: Path, packages: list[Path]) -> str:
    """The settings that all hosts of an installation have in common."""
    return f"""
[store]
path = "{data}/store"
minimum_free_bytes = 0

[keys]
master_key_file = "{data}/master.key"
mirrors = ["{data}/keys-1", "{data}/keys-2"]

[audit]
signing_key_file = "{data}/audit-signing.key"
heads_directory = "{data}/audit-heads"

[runtime]
packages = {json.dumps([str(package) for package in packages])}
result_key_file = "{data}/result.key"
"""


@pytest.fixture
def packages(tmp_path: Path) -> list[Path]:
    """Two versions of the chest model."""
    folders = [tmp_path / f"chest-{version}" for version in ("8.0.0", "9.0.0")]
    for folder in folders:
        shutil.copytree(bundled_packages()[MODEL], folder)
        described = (folder / "model.toml").read_text()
        version = folder.name.removeprefix("chest-")
        (folder / "model.toml").write_text(
            re.sub(r'^version = ".*"', f'version = "{version}"', described, count=1, flags=re.MULTILINE)
        )
    return folders


@pytest.fixture
def hosts(tmp_path: Path, postgresql_server, packages: list[Path]) -> Iterator[list[Kopru]]:
    url = postgresql_server.url(postgresql_server.create())
    made = [Kopru(tmp_path / name, url, more=shared(tmp_path / "shared", packages)) for name in ("one", "two")]
    (tmp_path / "shared").mkdir()
    for host, name in zip(made, ("one", "two"), strict=True):
        text = host.settings.read_text().replace("[store]\nminimum_free_bytes = 0\n\n", "", 1)
        text = text.replace('name = "test"', f'name = "{name}"', 1)
        host.settings.write_text(text.replace(str(host.reports), str(tmp_path / "reports")))
    try:
        yield made
    finally:
        for host in made:
            host.close()


def test_two_hosts_have_one_registry_and_answer_each_study_once(hosts: list[Kopru], tmp_path: Path):
    with ThreadPoolExecutor(2) as threads:  # both make the same database, keys and registry
        one, two = threads.map(Kopru.start, hosts)
    files = []
    for number in range(1, STUDIES + 1):
        files.append(tmp_path / f"{number}.dcm")
        image(number).save_as(files[-1], enforce_file_format=True)
    one.ask("models.experiment-start", kind="ab", model=MODEL, version="9.0.0", share=0.5)
    assert len(one.send(files[::2])) + len(two.send(files[1::2])) == STUDIES
    one.wait_for_states({"delivered": STUDIES})
    assert len(list((tmp_path / "reports").glob("*.json"))) == STUDIES
    shown = two.ask("models.experiment-show", model=MODEL)
    assert sum(shown["studies"].values()) == STUDIES

    for study in one.studies():
        one.ask("studies.reprocess", study=study["study"])
    with ThreadPoolExecutor(4) as threads:  # while the studies are answered anew
        turns = [(host, version) for _ in range(4) for host in (one, two) for version in ("9.0.0", "8.0.0")]
        assert any(threads.map(lambda turn: _promoted(*turn), turns))
    stages = [_stages(host) for host in (one, two)]
    assert stages[0] == stages[1]
    assert sorted(stages[0].values()) == ["production", "retired"]
    wait_until(lambda: all(s["revision"] == 2 and s["state"] == "delivered" for s in two.studies()), "all anew", 60)
    assert len(list((tmp_path / "reports").glob("*.json"))) == STUDIES
    assert one.ask("audit.verify")["sound"]


def _promoted(host: Kopru, version: str) -> bool:
    """Whether it was; another may have been quicker."""
    with suppress(CommandFailed):
        host.ask("models.promote", model=MODEL, version=version)
        return True
    return False


def _stages(host: Kopru) -> dict[str, str]:
    return {row["version"]: row["stage"] for row in host.ask("models.versions") if row["name"] == MODEL}
