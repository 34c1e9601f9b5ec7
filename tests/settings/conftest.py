"""Settings of a test: a TOML text, an environment, a command line."""

from pathlib import Path

import pytest

from daemon.settings import Loaded, SettingsError, load_settings
from tests.settings.samples import HOME


@pytest.fixture
def load(tmp_path: Path):
    """Load a TOML text with the given environment and command line."""

    def load_text(
        text: str = "", environ: dict[str, str] | None = None, overrides: dict[str, str] | None = None
    ) -> Loaded:
        path = tmp_path / "kopru.toml"
        path.write_text(text, encoding="utf-8")
        return load_settings(path, overrides or {}, HOME | (environ or {}))

    return load_text


@pytest.fixture
def refused(load):
    """The only problem that a TOML text has."""

    def problem(text: str = "", **given: dict[str, str]):
        with pytest.raises(SettingsError) as error:
            load(text, **given)
        [found] = error.value.problems
        return found

    return problem
