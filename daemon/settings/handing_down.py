"""Hands validated settings from the supervisor to a child, secrets included, over a pipe that nobody else can read.

So that a child runs with exactly what the supervisor validated, whatever has become of the file since.
"""

import json
from typing import Any

from pydantic import SecretStr

from daemon.settings.model import Settings


def hand_down(settings: Settings) -> bytes:
    """The settings as JSON, with the secrets in the clear: for a pipe, never for a file or a log."""
    return json.dumps(_revealed(settings.model_dump()), default=str).encode()


def load_handed_down(data: bytes) -> Settings:
    """Read what `hand_down` wrote."""
    return Settings.model_validate_json(data)


def _revealed(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, dict):
        return {key: _revealed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_revealed(item) for item in value]
    return value
