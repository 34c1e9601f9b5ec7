"""No secret of the settings gets out, and where they come from is told."""

from pathlib import Path

import pytest

from daemon.settings import FhirDestination, OriginKind, load_settings
from daemon.settings.handing_down import hand_down, load_handed_down
from tests.settings.samples import EHR, HOME, SECRET

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


def given(way: str, key: str, folder: Path) -> tuple[str, dict[str, str]]:
    """The secret for the last table of a file: what the file says of it, and the environment."""
    environ = {"CREDENTIALS_DIRECTORY": str(folder)}
    if way == "environment":
        return "", environ | {f"KOPRU_{key.upper().replace('.', '__').replace('-', '_')}": SECRET}
    file = folder / (key if way == "credential" else "token")
    file.write_text(SECRET + "\n")
    file.chmod(0o400)
    return (f'token_file = "{file}"\n' if way == "file" else ""), environ


@pytest.mark.parametrize("way", ["environment", "file", "credential"])
def test_a_secret_comes_from_the_environment_a_file_or_a_credential_and_is_masked(load, tmp_path: Path, way: str):
    text, environ = given(way, "destinations.ehr.token", tmp_path)
    loaded = load(EHR + text, environ)
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
    text, environ = given(way, "runtime.remotes.gpu-farm.token", tmp_path)
    loaded = load(REMOTE + text, environ)
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
