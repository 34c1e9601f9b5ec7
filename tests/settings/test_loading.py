"""Settings: who wins, what is refused, and how it is told."""

import json
import pickle
from pathlib import Path

import pytest
from pydantic import ValidationError

from anonymize import Option, Policy
from daemon.settings import (
    DirectoryDestination,
    FhirDestination,
    Loaded,
    SettingsError,
    default_path,
    load_settings,
)
from tests.settings.samples import EHR, HOME

ARCHIVE = (
    '[[destinations]]\nname = "research"\nkind = "dicom"\naddress = "archive.example"\nport = 104\nae_title = "A"\n'
)

PACS = ARCHIVE.replace("research", "pacs").replace("dicom", "pacs")


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
