"""What a person says of a model is checked before anything is made of it: a slip is named by its own key."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError, create_model

from runtime.errors import PackageError
from runtime.package import ModelDescription, OutputSpec
from runtime.package.parts import Part, Text
from runtime.package.toml import as_json, explained


def _partly(table: type[BaseModel], **fields: Any) -> Any:
    """The table with every key left open but those in `fields`, and without what the keys must fulfil together."""
    left_open: dict[str, Any] = {name: (field.annotation, None) for name, field in table.model_fields.items()}
    return create_model(f"Partly{table.__name__}", __base__=Part, **left_open | fields)


_OUTPUT = _partly(OutputSpec, name=(Text, ...))
_DETAILS = _partly(ModelDescription, outputs=(tuple[_OUTPUT, ...], ()))  # type: ignore[valid-type]  # a class, made above


def check_details(place: Path, details: Mapping[str, Any]) -> None:
    """Raise `PackageError` for a key that nobody can say, and a value that it cannot have. What the model itself gives,
    and whether the keys agree with each other, is not known yet.
    """
    if "files" in details:
        raise PackageError(place, "files", "unknown key; remove it: the package says it itself")
    try:
        _DETAILS.model_validate_json(as_json(place, details))
    except ValidationError as error:
        raise explained(place, error) from None
