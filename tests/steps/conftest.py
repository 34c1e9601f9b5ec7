"""The installation whose steps are tested."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.steps.installation import Installation


@pytest.fixture
def installation(tmp_path: Path, database_url: str) -> Iterator[Installation]:
    """An installation with two destinations, on SQLite and PostgreSQL in turn; in the end nothing may be dropped."""
    made = Installation(tmp_path, database_url)
    try:
        yield made
        made.assert_nothing_is_dropped()
    finally:
        made.close()
