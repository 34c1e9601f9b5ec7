"""A supervisor that has started nothing."""

from pathlib import Path

import pytest

from daemon.settings import Settings
from daemon.settings.defaults import folder_defaults, machine_defaults
from daemon.supervision.supervisor import Supervisor


@pytest.fixture
def supervisor(tmp_path: Path) -> Supervisor:
    values = folder_defaults(tmp_path, tmp_path, {})
    for section, found in machine_defaults().items():
        values[section] = values.get(section, {}) | found
    settings = Settings.model_validate(values)
    return Supervisor(settings, reload=lambda: settings)
