"""Puts the settings together and says where each value came from. Every problem is reported, not just the first.

A value comes from the first of these that gives it:

1. the command line (`dicom.port=104`);
2. the environment (`KOPRU_DICOM__PORT=104`; a value that starts with `[` or `{` is read as JSON; an entry of `sources`
   and `destinations` goes by its name or number: `KOPRU_DESTINATIONS__EHR__TOKEN`);
3. for a secret: the file that its `…_file` key names, then the systemd credential that has the key's name;
4. the TOML file; there, a table of `sources` takes what it does not say from `source_defaults`;
5. the default.

A secret is never taken from the TOML file, which gets copied and backed up, nor from the command line, which every
account can see. `pydantic-settings` merges its sources before anyone can ask which of them a value came from; so only
its foundation, `pydantic`, is used here.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from daemon.settings.defaults import (
    SYSTEM_CONFIGURATION,
    credential,
    data_directory,
    folder_defaults,
    machine_defaults,
    runtime_directory,
)
from daemon.settings.draft import Draft, dotted, leaves
from daemon.settings.errors import Problem, SettingsError
from daemon.settings.explaining import explain
from daemon.settings.model import Settings
from daemon.settings.origin import DEFAULT, KeyPath, Origin, OriginKind, file_origin, toml_lines
from daemon.settings.sections.receiving import SourceDefaults
from daemon.settings.sections.section import sections_of

_PREFIX = "KOPRU_"
_MASK = "********"
_REMOTES = ("runtime", "remotes")
_UNSAFE = {OriginKind.FILE: "this file", OriginKind.COMMAND_LINE: "the command line"}


@dataclass(frozen=True)
class Loaded:
    """Valid settings and where each value came from."""

    settings: Settings
    provenance: dict[str, Origin]
    """Dotted key (`destinations.ehr.url`) to origin, for every value, defaults too."""
    path: Path | None
    """The TOML file, if there was one."""

    def shown(self) -> Iterator[tuple[str, Any, Origin]]:
        """Each value as it may be shown: key, JSON value with secrets masked, origin."""
        values = leaves(self.settings.model_dump(mode="json"))
        for path, value in values.items():
            key = dotted(path, values)
            if path == ("database", "url"):
                value = self.settings.database.shown_url
            elif _is_secret(path) and value is not None:
                value = _MASK
            yield key, value, self.provenance[key]


def load_settings(
    path: Path | None, overrides: Mapping[str, str], environ: Mapping[str, str], *, secrets: bool = True
) -> Loaded:
    """Read, merge and check all settings.

    `path` is the TOML file, if there is one; `overrides` maps dotted keys to values from the command line; `environ` is
    the process's environment. Without `secrets`, files of secrets are left alone: an operator's command that only asks
    the daemon must work for accounts that cannot read them. Raises `SettingsError` with every problem found.
    """
    document, lines = _read(path)
    draft = Draft()
    data = _folder("data", document, overrides, environ) or data_directory(environ, path)
    runtime = _folder("runtime_directory", document, overrides, environ) or runtime_directory(data, environ, path)
    for defaults in (machine_defaults(), folder_defaults(data, runtime, environ)):
        for section, values in defaults.items():
            draft.assign((section,), values, DEFAULT)
    for section, values in document.items():
        draft.assign((section,), values, file_origin(path) if path else DEFAULT, lines)
    _assign_environment(draft, environ)
    for key, text in overrides.items():
        draft.assign_text(key.split("."), text, Origin(OriginKind.COMMAND_LINE, key))
    _inherit_source_defaults(draft)
    _refuse_written_secrets(draft)
    if secrets:
        _resolve_secrets(draft, environ)
    settings = _validate(draft, path)
    values = leaves(settings.model_dump(mode="json"))
    provenance = {dotted(at, values): draft.origins[at] if at in draft.values else DEFAULT for at in values}
    return Loaded(settings, provenance, path)


def default_path(environ: Mapping[str, str]) -> Path | None:
    """The TOML file to use where none is named: `KOPRU_CONFIG`, else /etc/kopru/kopru.toml if it exists."""
    if named := environ.get("KOPRU_CONFIG"):
        return Path(named)
    usual = SYSTEM_CONFIGURATION / "kopru.toml"
    try:
        return usual if usual.exists() else None
    except PermissionError:
        return usual  # it may be there: reading it says what is wrong, and other defaults would mislead


def _read(path: Path | None) -> tuple[dict[str, Any], dict[KeyPath, Origin]]:
    if path is None:
        return {}, {}
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except OSError as error:
        problem = Problem("", str(path), f"cannot be read: {error.strerror}.")
    except UnicodeDecodeError:
        problem = Problem("", str(path), "is not UTF-8 text.")
    except tomllib.TOMLDecodeError as error:
        problem = Problem("", str(path), f"is not TOML: {error}.")
    else:
        return document, {at: file_origin(path, line) for at, line in toml_lines(text).items()}
    raise SettingsError([problem])


def _folder(
    key: str, document: Mapping[str, Any], overrides: Mapping[str, str], environ: Mapping[str, str]
) -> Path | None:
    """A folder of `[node]`, if it is set: looked up ahead of everything else, because defaults follow from it."""
    node = document.get("node")
    written = node.get(key) if isinstance(node, dict) else None
    chosen = overrides.get(f"node.{key}") or environ.get(f"{_PREFIX}NODE__{key.upper()}") or written
    return Path(chosen) if isinstance(chosen, str) else None


def _assign_environment(draft: Draft, environ: Mapping[str, str]) -> None:
    """Variables with `__`, and those that give a whole list. Others that start with `KOPRU_` are not settings."""
    flattened = {f"{section}_{key}": f"{section}__{key}" for section, key in _section_keys()}
    for name in sorted(name for name in environ if name.startswith(_PREFIX)):
        origin = Origin(OriginKind.ENVIRONMENT, name)
        parts = name.removeprefix(_PREFIX).lower().split("__")
        if len(parts) > 1 or parts[0] in Settings.model_fields:
            draft.assign_text(parts, environ[name], origin)
        elif parts[0] in flattened:
            meant = _PREFIX + flattened[parts[0]].upper()
            draft.refuse((), origin, f"is not a setting; did you mean {meant}?")


def _section_keys() -> Iterator[tuple[str, str]]:
    for name in Settings.model_fields:
        for section in sections_of(Settings, name):
            yield from ((name, key) for key in section.model_fields)


def _inherit_source_defaults(draft: Draft) -> None:
    for number in draft.entries("sources"):
        for key in SourceDefaults.model_fields:
            path, default = ("sources", number, key), ("source_defaults", key)
            if path not in draft.values and default in draft.values:
                draft.values[path] = draft.values[default]
                draft.origins[path] = draft.origins[default]


def _is_secret(path: KeyPath) -> bool:
    return (
        path == ("database", "password")
        or (len(path) == 3 and path[0] == "destinations" and path[2] == "token")
        or (len(path) == 4 and path[:2] == _REMOTES and path[3] == "token")
    )


def _refuse_written_secrets(draft: Draft) -> None:
    for path, value in draft.values.items():
        origin = draft.origins[path]
        if origin.kind not in _UNSAFE or not (_is_secret(path) or _holds_password(path, value)):
            continue
        secret = dotted((*path[:-1], "password") if path == ("database", "url") else path, draft.values)
        variable = _PREFIX + re.sub("[^A-Z0-9_]", "_", secret.upper().replace(".", "__"))
        draft.refuse(
            path,
            origin,
            f"holds a secret, and {_UNSAFE[origin.kind]} is no place for one. Use the environment variable {variable}, "
            f"a file named by `{secret}_file`, or the systemd credential {secret!r}.",
        )


def _holds_password(path: KeyPath, value: Any) -> bool:
    return path == ("database", "url") and isinstance(value, str) and bool(re.match(r"[^/]*://[^/@]*:[^/]*@", value))


def _resolve_secrets(draft: Draft, environ: Mapping[str, str]) -> None:
    """Read the files of secrets that the environment does not give, and put the database's password into its URL."""
    entries = [("destinations", number) for number in draft.entries("destinations")]
    fhir = [entry for entry in entries if draft.values.get((*entry, "kind")) == "fhir"]
    remotes = sorted({(*_REMOTES, str(path[2])) for path in draft.values if path[:2] == _REMOTES and len(path) > 3})
    paths: list[KeyPath] = [("database", "password"), *((*entry, "token") for entry in (*fhir, *remotes))]
    for path in paths:
        if path in draft.values:
            continue
        named = draft.values.get((*path[:-1], f"{path[-1]}_file"))
        if isinstance(named, str):
            _read_secret(draft, path, Path(named), OriginKind.SECRET_FILE)
        elif file := credential(dotted(path, draft.values), environ):
            _read_secret(draft, path, file, OriginKind.CREDENTIAL)
    url, password = draft.values.get(("database", "url")), draft.values.get(("database", "password"))
    if isinstance(url, str) and isinstance(password, str):
        import sqlalchemy as sa  # not needed by most commands, and as long to load as all of them

        try:
            complete = sa.make_url(url).set(password=password).render_as_string(hide_password=False)
        except sa.exc.ArgumentError:
            return  # the model says what is wrong with the URL
        draft.values["database", "url"] = complete


def _read_secret(draft: Draft, path: KeyPath, file: Path, kind: OriginKind) -> None:
    origin = Origin(kind, str(file))
    try:
        if kind is OriginKind.SECRET_FILE and file.stat().st_mode & 0o007:
            draft.refuse(path, origin, "every account can use this file; take that away with `chmod o= FILE`.")
            return
        secret = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        draft.refuse(path, origin, f"the secret cannot be read: {error.strerror}.")
        return
    except UnicodeDecodeError:
        secret = ""
    if secret:
        draft.assign(path, secret, origin)
    else:
        draft.refuse(path, origin, "the file holds no text.")


def _validate(draft: Draft, path: Path | None) -> Settings:
    problems = draft.problems
    try:
        settings = Settings.model_validate(draft.tree())
    except ValidationError as error:
        problems += [explain(detail, draft, path) for detail in error.errors(include_url=False)]
    else:
        if not problems:
            return settings
    raise SettingsError(problems)
