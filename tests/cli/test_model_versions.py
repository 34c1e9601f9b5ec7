"""What `kopru models list` says of versions whose package this host does not have."""

import json

import pytest

from daemon.node import Node
from daemon.registry import register
from daemon.settings.defaults import bundled_packages
from runtime import ModelPackage
from tests.cli.conftest import Run

pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


def test_a_version_that_answers_and_is_not_here_is_named(ask: Run, console: Node):
    package = ModelPackage.load(bundled_packages()["news2"])
    for version in ("7.0.0", "8.0.0"):  # an upgrade, of which this host knows nothing
        newer = package.model_copy(update={"version": version})
        console.database.retrying(lambda connection, one=newer: register(connection, console.audit, [one]))
    said = ask("models", "list", columns=200).out
    assert "news2 8.0.0 (production): its package is not in runtime.packages" in said
    assert "news2 7.0.0 (retired): its package is not in runtime.packages" in said
    assert "7.0.0" not in {row["version"] for row in json.loads(ask("models", "list", "--json").out)}
