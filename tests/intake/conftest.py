"""The installation whose intake is tested."""

from tests.steps.conftest import installation  # noqa: F401 - a fixture
