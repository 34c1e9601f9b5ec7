"""The installation whose intake is tested."""

from tests.steps.conftest import emptied_database_url, installation, lasting_postgresql_url  # noqa: F401 - fixtures
