"""The example file, what each key says of itself, and on which line it stands."""

import json
import os
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.settings import Settings, load_settings
from daemon.settings.origin import toml_lines
from daemon.settings.sections.section import Section, sections_of
from tests.settings.samples import HOME

EXAMPLE = Path(__file__).parents[2] / "docs" / "kopru.toml"


def _keys(section: type[Section]) -> set[str]:
    return {
        f"{name}.{key}" if inner else name
        for name in section.model_fields
        for inner in (sections_of(section, name) or [None])
        for key in (inner.model_fields if inner else [""])
    }


_EXAMPLES = {
    ("console", "api_keys"),
    ("console", "certificate_file"),
    ("console", "port"),
    ("console", "private_key_file"),
    ("database", "password_file"),
    ("deidentification", "pixel_script"),
    ("deidentification", "pipelines"),
    ("runtime", "memory_bytes"),
    ("runtime", "packages"),
    ("runtime", "remotes"),
    ("runtime", "routes"),
}


def test_the_example_file_has_every_key_and_shows_the_defaults(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    environ = {"STATE_DIRECTORY": "/var/lib/kopru", "RUNTIME_DIRECTORY": "/run/kopru"}
    text = EXAMPLE.read_text(encoding="utf-8")
    assert load_settings(EXAMPLE, {}, environ).settings == load_settings(None, {}, environ).settings
    filled = re.sub(r"^#(?=[a-z0-9_]+ = |\[)", "", text, flags=re.MULTILINE)
    document = tomllib.loads(filled)
    shown = {f"{section}.{key}" for section, table in document.items() if isinstance(table, dict) for key in table}
    shown |= {
        f"{section}.{key}" for section in ("sources", "destinations") for table in document[section] for key in table
    }
    from_environment_only = {"database.password", "destinations.token"}
    inherited = {key for key in _keys(Settings) if key.startswith("sources.")}
    assert _keys(Settings) - {"pipelines"} - shown - from_environment_only - inherited == set()

    default = load_settings(None, {}, environ)
    values = {key: value for key, value, _ in default.shown()}
    for section in document.keys() - {"sources", "destinations", "pipelines"}:
        for key, value in document[section].items():
            if (section, key) not in _EXAMPLES:
                assert values[f"{section}.{key}"] == value, f"{section}.{key}"
    assert document["pipelines"] == values["pipelines"]


def test_the_examples_of_the_example_file_are_valid(tmp_path: Path):
    filled = re.sub(r"^#(?=[a-z0-9_]+ = |\[)", "", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    (tmp_path / "kopru.toml").write_text(filled, encoding="utf-8")
    settings = load_settings(tmp_path / "kopru.toml", {}, HOME, secrets=False).settings
    assert [destination.kind for destination in settings.destinations] == ["fhir", "directory", "pacs", "dicom"]
    fhir = settings.destinations[0]
    assert {
        name: getattr(fhir, name) for name in ("status", "confirm_research", "timeout_seconds", "maximum_attempts")
    } == {
        name: type(fhir).model_fields[name].default
        for name in ("status", "confirm_research", "timeout_seconds", "maximum_attempts")
    }


def test_every_key_says_what_it_takes():
    def sections(section: type[Section]) -> list[type[Section]]:
        return [
            section,
            *(s for name in section.model_fields for inner in sections_of(section, name) for s in sections(inner)),
        ]

    silent = [
        f"{section.__name__}.{name}"
        for section in sections(Settings)
        for name, field in section.model_fields.items()
        if not field.description and not sections_of(section, name)
    ]
    assert silent == []


values = st.one_of(
    st.integers(), st.booleans(), st.text(alphabet="ab[]#=\"'\n ", max_size=12), st.lists(st.integers(), max_size=3)
)


@given(
    st.lists(
        st.tuples(st.sampled_from(["[t]", "[[l]]", "[l.x]", "[t.u]"]), st.dictionaries(st.sampled_from("abc"), values))
    )
)
def test_every_key_of_a_document_has_its_line(tables):
    """Whatever the values look like, the line that is told is the one on which the key was written."""
    lines, expected, seen, number = [], {}, set(), -1
    for header, entries in tables:
        if (header in seen and header != "[[l]]") or (header == "[t]" and "[t.u]" in seen):
            continue
        if header == "[l.x]" and "[[l]]" not in seen:
            continue
        seen.add(header)
        if header == "[[l]]":
            number += 1
            seen.discard("[l.x]")
        path = {"[t]": ("t",), "[[l]]": ("l", number), "[l.x]": ("l", number, "x"), "[t.u]": ("t", "u")}[header]
        lines.append(header)
        for key, value in entries.items():
            lines.append("# [a] = ''' not a key")
            expected[(*path, key)] = sum(line.count("\n") + 1 for line in lines) + 1
            if isinstance(value, list):
                lines.append(f"{key} = [\n" + "".join(f"  {item},\n" for item in value) + "]")
            elif isinstance(value, str) and '"' not in value:
                lines.append(f'{key} = """\n{value}"""')
            else:
                lines.append(f"{key} = {json.dumps(value)}")
    text = "\n".join(lines) + "\n"
    tomllib.loads(text)
    found = toml_lines(text)
    assert {path: found[path] for path in expected} == expected
