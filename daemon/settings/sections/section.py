"""What a section is: a table of the TOML file, and how the tables within it are found."""

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of the settings: frozen, and only with the keys it lists."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def sections_of(section: type[Section], key: str) -> list[type[Section]]:
    """The models of the tables that `key` of a section can hold; empty if it holds a plain value or does not exist."""
    field = section.model_fields.get(key)
    return list(_sections_in(field.annotation)) if field else []


def _sections_in(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for inner in get_args(annotation):
        yield from _sections_in(inner)
