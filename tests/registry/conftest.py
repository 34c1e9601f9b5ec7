"""The installation whose models are promoted and compared, with two versions of the chest model."""

from tests.steps.conftest import emptied_database_url, installation, lasting_postgresql_url

__all__ = ["emptied_database_url", "installation", "lasting_postgresql_url"]
