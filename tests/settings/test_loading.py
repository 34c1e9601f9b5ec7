"""Settings: who wins, what is refused and how it is told, and that no secret gets out."""

import json
import os
import pickle
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from anonymize import Option, Policy
from daemon.settings import (
    DirectoryDestination,
    FhirDestination,
    Loaded,
    OriginKind,
    Settings,
    SettingsError,
    default_path,
    load_settings,
)
from daemon.settings.handing_down import hand_down, load_handed_down
from daemon.settings.origin import toml_lines
from daemon.settings.sections.section import Section, sections_of

HOME = {"HOME": "/home/nobody"}
EHR = '[[destinations]]\nname = "ehr"\nkind = "fhir"\nurl = "https://ehr.example/fhir"\n'
ARCHIVE = (
    '[[destinations]]\nname = "research"\nkind = "dicom"\naddress = "archive.example"\nport = 104\nae_title = "A"\n'
)
PACS = ARCHIVE.replace("research", "pacs").replace("dicom", "pacs")
EXAMPLE = Path(__file__).parents[2] / "docs" / "kopru.toml"


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


def test_the_command_line_wins_over_the_environment_over_the_file_over_the_default(load):
    file, environ, overrides = "[dicom]\nport = 1\n", {"KOPRU_DICOM__PORT": "2"}, {"dicom.port": "3"}
    ports = [
        load(file, environ, overrides).settings.dicom.port,
        load(file, environ).settings.dicom.port,
        load(file).settings.dicom.port,
        load().settings.dicom.port,
    ]
    assert ports == [3, 2, 1, 11112]


def test_each_value_says_where_it_came_from(load, tmp_path: Path):
    loaded = load(
        '[dicom]\n# which door\nport = 104\n\n[log]\nlevel = "debug"\n',
        {"KOPRU_DICOM__AE_TITLE": "X"},
        {"log.level": "error"},
    )
    origins = {key: str(origin) for key, origin in loaded.provenance.items()}
    assert origins["dicom.port"] == f"{tmp_path}/kopru.toml:3"
    assert origins["dicom.ae_title"] == "environment KOPRU_DICOM__AE_TITLE"
    assert origins["log.level"] == "command line log.level"
    assert origins["dicom.address"] == "default"
    assert {key for key, _, _ in loaded.shown()} == set(origins)


@pytest.mark.parametrize(
    ("text", "key", "line", "says", "allowed"),
    [
        ("[dicom]\n\nport = 70000\n", "dicom.port", 3, "70000 should be less", "1 to 65535"),
        ('[dicom]\nport = "many"\n', "dicom.port", 2, "valid integer", "1 to 65535"),
        ('[log]\nlevel = "loud"\n', "log.level", 2, "'loud' should be", "debug, info, warning or error"),
        ("[dicom]\nprot = 104\n", "dicom.prot", 2, "did you mean `port`", ""),
        ("[dicm]\nport = 104\n", "dicm", 1, "did you mean `dicom`", ""),
        ("dicom = 4\n", "dicom", 1, "valid dictionary", ""),
        ('[store]\npath = "here"\n', "store.path", 2, "is not an absolute path", "absolute path"),
        ('[source_defaults]\ntimezone = "Mars/Base"\n', "source_defaults.timezone", 2, "is not a time zone", "IANA"),
        ('[dicom]\nae_title = "SEVENTEEN LETTERS"\n', "dicom.ae_title", 2, "is not an application entity", "16"),
        ('[[sources]]\nae_title = "A"\n', "sources.A.issuer", 1, "must be set", "who issued"),
        (EHR + 'status = "final"\n', "destinations.ehr.status", 5, "'final' should be", "partial or preliminary"),
        (EHR + EHR.replace("ehr", "b") + "stauts = 1\n", "destinations.b.stauts", 9, "did you mean `status`", ""),
        (EHR.replace("https", "http"), "destinations.ehr.url", 4, "unencrypted", "https"),
        (
            '[[destinations]]\nname = "a"\nkind = "fax"\n',
            "destinations.a.kind",
            3,
            "'fax' is no kind",
            "fhir, directory, pacs or dicom",
        ),
        ('[[destinations]]\nname = "a"\n', "destinations.a.kind", 1, "must be set", "fhir, directory, pacs or dicom"),
        (
            ARCHIVE + 'deidentification = { options = ["clean-recognizable-visual-features"] }\n',
            "destinations.research.deidentification",
            7,
            "cannot be done",
            "as for a pipeline",
        ),
        (
            ARCHIVE + 'deidentification = { year_only = true, options = ["retain-longitudinal-full-dates"] }\n',
            "destinations.research.deidentification",
            7,
            "exclude each other",
            "as for a pipeline",
        ),
        (ARCHIVE + 'status = "partial"\n', "destinations.research.status", 7, "gets no report", ""),
        (PACS + "heatmaps = true\n", "destinations.pacs.heatmaps", 7, "gets no report", ""),
        (
            ARCHIVE + "confirm_research = true\n",
            "destinations.research.confirm_research",
            7,
            "nothing that a model",
            "",
        ),
        (EHR + "deidentification = {}\n", "destinations.ehr.deidentification", 5, "names the patient", ""),
        (PACS + "deidentification = {}\n", "destinations.pacs.deidentification", 7, "names the patient", ""),
        (PACS + "overwrites = true\n", "destinations.pacs.overwrites", 7, "there is no such setting", ""),
        (ARCHIVE + "prt = 1\n", "destinations.research.prt", 7, "did you mean `port`", ""),
        (ARCHIVE.replace("port = 104\n", ""), "destinations.research.port", 1, "must be set", "1 to 65535"),
        ('[database]\nurl = "mysql://h/d"\n', "database.url", 2, "not supported", "postgresql+psycopg"),
        ('[database]\nurl = "sqlite://"\n', "database.url", 2, "absolute path", "sqlite:////"),
        ('[runtime]\npackages = [\n  "/a",\n  "b",\n]\n', "runtime.packages", 2, "is not an absolute path", "list"),
        (f'[node]\nruntime_directory = "/{"x" * 90}"\n', "node.runtime_directory", 2, "too long", "Unix sockets"),
    ],
)
def test_a_bad_value_is_refused_with_its_key_place_and_what_is_allowed(
    refused, tmp_path, text, key, line, says, allowed
):
    problem = refused(text)
    assert (problem.key, problem.place) == (key, f"{tmp_path}/kopru.toml:{line}")
    assert says in problem.message
    assert allowed in problem.allowed


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (EHR + EHR, "'ehr' is used twice"),
        ('pipelines = ["a"]\n[source_defaults]\npipeline = ["b"]\n', "source_defaults.pipeline: 'b'"),
        (ARCHIVE + 'pipelines = ["b"]\n', "destinations.research.pipelines: 'b'"),
        (PACS + 'pipelines = ["b"]\n', "destinations.pacs.pipelines: 'b'"),
        ('pipelines = ["a", "b"]\n' + ARCHIVE + 'pipelines = ["b"]\n', "'a' has no destination"),
        (ARCHIVE.replace("archive.example", "127.0.0.1").replace("104", "11112"), "studies would go round"),
        ("a = \n", "is not TOML"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(refused, tmp_path: Path, text: str, says: str):
    problem = refused(text)
    assert says in problem.message
    assert problem.place == str(tmp_path / "kopru.toml")


def test_all_problems_are_told_at_once(load):
    with pytest.raises(SettingsError) as error:
        load("[dicom]\nport = -1\n[log]\nlevel = 3\n[nod]\n", {"KOPRU_ENGINE__WORKERS": "none"})
    assert {problem.key for problem in error.value.problems} == {"dicom.port", "log.level", "nod", "engine.workers"}


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path):
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(tmp_path / "absent.toml", {}, HOME)
    (tmp_path / "latin.toml").write_bytes(b'a = "\xe9"')
    with pytest.raises(SettingsError, match="UTF-8"):
        load_settings(tmp_path / "latin.toml", {}, HOME)


def test_an_environment_variable_is_named_when_its_value_is_refused(refused):
    problem = refused(environ={"KOPRU_DICOM__PORT": "door"})
    assert (problem.key, problem.place) == ("dicom.port", "environment KOPRU_DICOM__PORT")
    problem = refused(environ={"KOPRU_DICOM__PROT": "1"})
    assert problem.place == "environment KOPRU_DICOM__PROT"
    assert "did you mean `port`" in problem.message


def test_a_variable_with_one_underscore_too_few_is_not_ignored(refused):
    assert "KOPRU_DICOM__AE_TITLE" in refused(environ={"KOPRU_DICOM_AE_TITLE": "X"}).message


def test_variables_that_are_no_settings_are_left_alone(load):
    load(environ={"KOPRU_REQUIRE_PEERS": "1", "KOPRU_TEST_DATA": "/x", "KOPRU_CONFIG": "/y", "OTHER__PORT": "1"})


def test_lists_and_tables_come_from_the_environment_as_json(load):
    sources = [{"ae_title": "CT", "issuer": "A"}]
    settings = load(environ={"KOPRU_SOURCES": json.dumps(sources), "KOPRU_PIPELINES": '["a", "b"]'}).settings
    assert (settings.sources[0].ae_title, settings.pipelines) == ("CT", ("a", "b"))


def test_an_entry_is_addressed_by_name_or_number(load, refused):
    environ = {"KOPRU_DESTINATIONS__EHR__TIMEOUT_SECONDS": "7"}
    settings = load(EHR, environ, {"destinations.0.maximum_attempts": "3"}).settings
    assert (settings.destinations[0].timeout_seconds, settings.destinations[0].maximum_attempts) == (7.0, 3)
    assert "no entry 'absent'" in refused(EHR, overrides={"destinations.absent.status": "partial"}).message


def test_a_source_without_a_table_gets_the_defaults_and_one_with_a_table_inherits_them(load, tmp_path: Path):
    loaded = load(
        '[source_defaults]\nissuer = "A"\ntimezone = "Europe/Istanbul"\n'
        '[[sources]]\nae_title = "CT1"\n[[sources]]\nae_title = "CT2"\nissuer = "B"\n'
    )
    source_for = loaded.settings.source_for
    assert [source_for(name).issuer for name in ("CT1 ", "CT2", "OTHER")] == ["A", "B", "A"]
    assert {source_for(name).timezone for name in ("CT1", "CT2", "OTHER")} == {"Europe/Istanbul"}
    assert str(loaded.provenance["sources.CT1.issuer"]) == f"{tmp_path}/kopru.toml:2"


def test_reports_go_to_a_directory_unless_a_destination_is_set(load):
    [default] = load().settings.destinations
    assert default == DirectoryDestination(
        name="reports", kind="directory", path=Path(HOME["HOME"]) / ".local/share/kopru/reports"
    )
    [configured] = load(EHR).settings.destinations
    assert isinstance(configured, FhirDestination)


def test_folders_follow_systemd_then_the_data_folder(load):
    def folders(loaded: Loaded) -> tuple[str, str, str]:
        node = loaded.settings.node
        return str(node.data), str(node.runtime_directory), str(loaded.settings.store.path)

    systemd = {"STATE_DIRECTORY": "/var/lib/kopru", "RUNTIME_DIRECTORY": "/run/kopru"}
    assert folders(load(environ=systemd)) == ("/var/lib/kopru", "/run/kopru", "/var/lib/kopru/store")
    assert folders(load('[node]\ndata = "/d"\n')) == ("/d", "/d/run", "/d/store")
    assert folders(load('[store]\npath = "/s"\n', {"KOPRU_NODE__DATA": "/d"})) == ("/d", "/d/run", "/s")
    settings = load(overrides={"node.runtime_directory": "/r"}).settings
    assert str(settings.runtime.socket) == "/r/runtime.sock"


def test_the_default_file_is_the_one_that_the_environment_names():
    assert default_path({"KOPRU_CONFIG": "/x.toml"}) == Path("/x.toml")


def test_settings_cannot_be_changed_and_reach_another_process(load):
    settings = load(EHR).settings
    with pytest.raises(ValidationError):
        settings.dicom.port = 1
    assert pickle.loads(pickle.dumps(settings)) == settings


# Secrets

SECRET = "kX7-secret"
REMOTE = '[runtime.remotes.gpu-farm]\nauthority = "Models.example:8001"\n'


@pytest.mark.parametrize(
    ("text", "key", "variable"),
    [
        (EHR + f'token = "{SECRET}"\n', "destinations.ehr.token", "KOPRU_DESTINATIONS__EHR__TOKEN"),
        (REMOTE + f'token = "{SECRET}"\n', "runtime.remotes.gpu-farm.token", "KOPRU_RUNTIME__REMOTES__GPU_FARM__TOKEN"),
        (f'[database]\npassword = "{SECRET}"\n', "database.password", "KOPRU_DATABASE__PASSWORD"),
        (
            f'[database]\nurl = "postgresql+psycopg://kopru:{SECRET}@db/kopru"\n',
            "database.url",
            "KOPRU_DATABASE__PASSWORD",
        ),
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_repeated(refused, text: str, key: str, variable: str):
    problem = refused(text)
    assert problem.key == key
    assert variable in problem.message
    assert SECRET not in str(problem)


def test_a_secret_on_the_command_line_is_refused(refused):
    problem = refused(EHR, overrides={"destinations.ehr.token": SECRET})
    assert "the command line is no place" in problem.message
    assert SECRET not in str(problem)


@pytest.mark.parametrize("way", ["environment", "file", "credential"])
def test_a_secret_comes_from_the_environment_a_file_or_a_credential_and_is_masked(load, tmp_path: Path, way: str):
    (tmp_path / "credentials").mkdir()
    text, environ = EHR, {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}
    secret_file = tmp_path / "credentials" / "destinations.ehr.token" if way == "credential" else tmp_path / "token"
    if way == "environment":
        environ["KOPRU_DESTINATIONS__EHR__TOKEN"] = SECRET
    else:
        secret_file.write_text(SECRET + "\n")
        secret_file.chmod(0o400)
    if way == "file":
        text += f'token_file = "{secret_file}"\n'
    loaded = load(text, environ)
    [destination] = loaded.settings.destinations
    assert isinstance(destination, FhirDestination)
    assert destination.token is not None
    assert destination.token.get_secret_value() == SECRET
    origin = loaded.provenance["destinations.ehr.token"]
    kinds = {"environment": OriginKind.ENVIRONMENT, "file": OriginKind.SECRET_FILE, "credential": OriginKind.CREDENTIAL}
    assert origin.kind is kinds[way]
    assert SECRET not in repr(loaded)
    assert SECRET not in str(list(loaded.shown()))
    assert ("destinations.ehr.token", "********", origin) in list(loaded.shown())


@pytest.mark.parametrize("way", ["environment", "file", "credential"])
def test_the_token_of_a_server_with_models_is_a_secret_like_any_other(load, tmp_path: Path, way: str):
    text, environ = REMOTE, {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    secret_file = tmp_path / ("runtime.remotes.gpu-farm.token" if way == "credential" else "token")
    if way == "environment":
        environ["KOPRU_RUNTIME__REMOTES__GPU_FARM__TOKEN"] = SECRET
    else:
        secret_file.write_text(SECRET + "\n")
        secret_file.chmod(0o400)
    if way == "file":
        text += f'token_file = "{secret_file}"\n'
    loaded = load(text, environ)
    [(name, remote)] = loaded.settings.runtime.remotes.items()
    assert (name, remote.authority, remote.timeout_seconds) == ("gpu-farm", "models.example:8001", 30.0)
    assert remote.token is not None
    assert remote.token.get_secret_value() == SECRET
    assert SECRET not in repr(loaded)
    assert SECRET not in str(list(loaded.shown()))
    handed = load_handed_down(hand_down(loaded.settings)).runtime.remotes["gpu-farm"].token
    assert handed is not None
    assert handed.get_secret_value() == SECRET


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ("[runtime.remotes.farm]\ntimeout_seconds = 3\n", "runtime.remotes.farm.authority", "must be set"),
        (REMOTE + "tokenfile = 3\n", "runtime.remotes.gpu-farm.tokenfile", "did you mean `token_file`"),
        (REMOTE + "timeout_seconds = 0\n", "runtime.remotes.gpu-farm.timeout_seconds", "greater than 0"),
        (REMOTE.replace("Models", "https://models"), "runtime.remotes.gpu-farm.authority", "pattern"),
        (REMOTE + REMOTE.replace("gpu-farm", "b"), "", "the authority 'models.example:8001' is used twice"),
    ],
)
def test_a_wrong_table_of_a_server_is_explained(refused, text: str, key: str, said: str):
    problem = refused(text)
    assert problem.key == key
    assert said in problem.message


def test_a_token_of_two_words_is_refused_and_not_repeated(refused):
    problem = refused(REMOTE, environ={"KOPRU_RUNTIME__REMOTES__GPU_FARM__TOKEN": f"{SECRET} more"})
    assert "one word" in problem.message
    assert SECRET not in str(problem)


def test_the_password_of_the_database_is_used_and_masked(load, tmp_path: Path):
    file = tmp_path / "password"
    file.write_text("p@ss/word")
    file.chmod(0o600)
    loaded = load(f'[database]\nurl = "postgresql+psycopg://kopru@db/kopru"\npassword_file = "{file}"\n')
    assert loaded.settings.database.url == "postgresql+psycopg://kopru:p%40ss%2Fword@db/kopru"
    environ = {"KOPRU_DATABASE__URL": f"postgresql+psycopg://kopru:{SECRET}@db/kopru"}
    for case in (loaded, load(environ=environ)):
        for text in (repr(case), str(list(case.shown())), case.settings.database.shown_url):
            assert "p%40ss" not in text
            assert "p@ss" not in text
            assert SECRET not in text


def test_a_secret_file_that_others_can_read_or_that_is_empty_is_refused(refused, tmp_path: Path):
    file = tmp_path / "token"
    file.write_text(SECRET)
    file.chmod(0o644)
    assert "every account" in refused(EHR + f'token_file = "{file}"\n').message
    file.write_text(" \n")
    file.chmod(0o600)
    assert "no text" in refused(EHR + f'token_file = "{file}"\n').message
    assert "cannot be read" in refused(EHR + 'token_file = "/nowhere/token"\n').message


def test_a_command_that_only_asks_the_daemon_needs_no_secrets(tmp_path: Path):
    path = tmp_path / "kopru.toml"
    path.write_text(EHR + 'token_file = "/nowhere/token"\n')
    load_settings(path, {}, HOME, secrets=False)


def test_master_and_signing_key_come_from_systemd_credentials_where_there_are_any(load, tmp_path: Path):
    for name in ("keys.master_key", "audit.signing_key"):
        (tmp_path / name).write_bytes(b"k")
    settings = load(environ={"CREDENTIALS_DIRECTORY": str(tmp_path)}).settings
    assert settings.keys.master_key_file == tmp_path / "keys.master_key"
    assert settings.audit.signing_key_file == tmp_path / "audit.signing_key"


# The example, the descriptions, the lines


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


# The commands


def kopru(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    path = {name: os.environ[name] for name in ("PATH", "PYTHONPATH")}
    return subprocess.run(
        [sys.executable, "-m", "daemon.cli", *arguments],
        capture_output=True,
        text=True,
        env=path | HOME | environ,
        timeout=60,
    )


def test_config_check_exits_with_2_and_names_each_problem(tmp_path: Path):
    path = tmp_path / "kopru.toml"
    path.write_text("[dicom]\nport = 70000\n")
    done = kopru("--config", str(path), "config", "check")
    assert done.returncode == 2
    assert "dicom.port" in done.stdout
    done = kopru("--config", str(path), "config", "check", "--json")
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["valid"]) == (2, False)
    assert answer["problems"][0]["place"] == f"{path}:2"
    path.write_text("[dicom]\nport = 104\n")
    done = kopru("config", "check", "--json", KOPRU_CONFIG=str(path))
    assert (done.returncode, json.loads(done.stdout)["valid"]) == (0, True)


def test_config_show_tells_each_value_and_its_origin_but_no_secret(tmp_path: Path):
    path = tmp_path / "kopru.toml"
    path.write_text(EHR)
    arguments = ["--config", str(path), "--set", "dicom.port=104", "config", "show"]
    done = kopru(*arguments, "--json", KOPRU_DESTINATIONS__EHR__TOKEN=SECRET)
    assert done.returncode == 0, done.stderr
    rows = {row["key"]: (row["value"], row["origin"]) for row in json.loads(done.stdout)}
    assert rows["dicom.port"] == (104, "command line dicom.port")
    assert rows["destinations.ehr.url"] == ("https://ehr.example/fhir", f"{path}:4")
    assert rows["destinations.ehr.token"] == ("********", "environment KOPRU_DESTINATIONS__EHR__TOKEN")
    table = kopru(*arguments, KOPRU_DESTINATIONS__EHR__TOKEN=SECRET, COLUMNS="200")
    assert "dicom.port" in table.stdout
    assert SECRET not in done.stdout + done.stderr + table.stdout + table.stderr


def test_no_destination_at_all_is_refused(tmp_path: Path):
    (tmp_path / "kopru.toml").write_text("destinations = []\n")
    with pytest.raises(SettingsError, match="no report could go anywhere"):
        load_settings(tmp_path / "kopru.toml", {}, HOME, secrets=False)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[deidentification]\noptions = ["clean-recognizable-visual-features"]\n', "cannot be done"),
        (
            '[deidentification]\noptions = ["retain-longitudinal-full-dates", "retain-longitudinal-modified-dates"]\n',
            "exclude each other",
        ),
        ('[deidentification]\nyear_only = true\noptions = ["retain-longitudinal-full-dates"]\n', "exclude each other"),
        ("[deidentification.pipelines.brain]\nyear_only = true\n", "no such pipeline"),
        ('[deidentification]\noptions = ["keep-everything"]\n', "keep-everything"),
    ],
)
def test_a_policy_that_cannot_be_kept_is_refused_when_settings_are_read(tmp_path: Path, text: str, reason: str):
    (tmp_path / "kopru.toml").write_text(text)
    with pytest.raises(SettingsError, match=reason):
        load_settings(tmp_path / "kopru.toml", {}, HOME, secrets=False)


def test_a_pipeline_without_a_policy_of_its_own_has_the_general_one(tmp_path: Path):
    (tmp_path / "kopru.toml").write_text('[deidentification]\noptions = ["retain-uids"]\n')
    settings = load_settings(tmp_path / "kopru.toml", {}, HOME, secrets=False).settings
    assert settings.deidentification.policy_for("chest-xray") == Policy(frozenset({Option.RETAIN_UIDS}))
