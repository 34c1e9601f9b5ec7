"""`kopru models import | keygen | sign`, and what the settings demand of packages."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from adapters.open_inference import new_api_key
from daemon.http import HttpServer
from daemon.models import admission, site_key
from daemon.pipelines import load_packages
from daemon.settings import ApiKeySettings, ConsoleSettings, load_settings
from daemon.settings.defaults import bundled_packages
from runtime import LocalRuntime, ModelPackage, PackageError, write_package
from runtime.gate import fit_gate
from tests.cli.conftest import Run
from tests.peers.process import free_port
from tests.runtime.packages import classifier, description, images, make_package

SAID = ("--version", "1.0.0", "--intended-use", "Tests only.", "--licence", "Apache-2.0", "--training-data", "None.")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.onnx"
    onnx.save(classifier(), path)
    return path


def _never_a_number() -> onnx.ModelProto:
    """Its weights are infinite."""
    model = classifier()
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((64, 3), np.inf, np.float32), "weights"))
    return model


@pytest.fixture
def config(tmp_path: Path, home: Path) -> Path:
    """Settings with a master key and one trusted key, which signs what is served."""
    key = tmp_path / "master"
    key.write_bytes(bytes(range(32)))
    key.chmod(0o600)
    path = tmp_path / "kopru.toml"
    path.write_text(
        f'keys.master_key_file = "{key}"\n[runtime]\npackages = ["{tmp_path}/models/tiny-1.0.0"]\n'
        f'trusted_keys = ["{tmp_path}/maker.pem.pub"]\nrequire_signatures = true\n'
    )
    return path


def test_a_model_is_imported_signed_and_listed(run: Run, tmp_path: Path, model: Path, config: Path) -> None:
    assert run("models", "keygen", tmp_path / "maker.pem").code == 0
    imported = run("--config", config, "models", "import", model, "--into", tmp_path / "models", *SAID)
    assert imported.code == 0, imported.err
    package = tmp_path / "models" / "tiny-1.0.0"
    assert "takes image: float32 ['batch', 1, 8, 8]" in imported.out
    refused = run("--config", config, "models", "list")
    assert refused.code == 1
    assert "only signed" in refused.err
    assert run("models", "sign", package, "--key", tmp_path / "maker.pem").code == 0
    (listed,) = json.loads(run("--config", config, "models", "list", "--json").out)
    assert listed["signed_by"] in run("--config", config, "models", "show", "tiny").out


def test_a_model_is_sealed_under_a_key_of_the_master_key(run: Run, tmp_path: Path, model: Path, config: Path) -> None:
    run("models", "keygen", tmp_path / "maker.pem")
    into = tmp_path / "models"
    imported = run("--config", config, "models", "import", model, "--into", into, *SAID, "--encrypt", "--json")
    assert json.loads(imported.out)["sealed"] is True
    package = into / "tiny-1.0.0"
    assert run("--config", config, "models", "sign", package, "--key", tmp_path / "maker.pem").code == 0
    settings = load_settings(config, {}, {}, secrets=False).settings
    assert ModelPackage.load(package, admission(settings)).read_weights() == model.read_bytes()
    assert site_key(settings) != (tmp_path / "master").read_bytes()
    with pytest.raises(PackageError, match="no key here"):
        ModelPackage.load(package, admission(settings, opens_sealed=False)).read_weights()


def test_an_import_says_that_nothing_proves_a_model_whose_answers_are_no_numbers(
    run: Run, tmp_path: Path, config: Path
) -> None:
    run("models", "keygen", tmp_path / "maker.pem")
    onnx.save(_never_a_number(), tmp_path / "tiny.onnx")
    into = tmp_path / "models"
    imported = run("--config", config, "models", "import", tmp_path / "tiny.onnx", "--into", into, *SAID, columns=200)
    assert imported.code == 0, imported.err
    assert "has no [check]" in imported.out


def test_a_server_is_asked_with_the_token_that_the_settings_have_for_it(run: Run, tmp_path: Path, home: Path) -> None:
    """The server is our own inference API over another package."""
    key, sha256 = new_api_key()
    port = free_port()
    (tmp_path / "token").write_text(key)
    (tmp_path / "token").chmod(0o600)
    console = ConsoleSettings(port=port, api_keys=(ApiKeySettings(name="us", sha256=sha256),))
    url = f"http://127.0.0.1:{port}/v2/models/tiny"
    with LocalRuntime([make_package(tmp_path / "tiny")], threads=1) as served:
        server = HttpServer.start(console, served, dict)
        try:
            into = ("--into", tmp_path / "models")
            imported = run("models", "import", url, *into, *SAID, "--token-file", tmp_path / "token")
            assert imported.code == 0, imported.err
            asked = ("models", "benchmark", tmp_path / "models" / "tiny-1.0.0", "--batch", 1, "--seconds", 0.1)
            assert "token is refused" in run(*asked, columns=400).err
            config = tmp_path / "kopru.toml"
            config.write_text(
                f'[runtime.remotes.us]\nauthority = "127.0.0.1:{port}"\ntoken_file = "{tmp_path}/token"\n'
            )
            answered = run("--config", config, *asked)
            assert answered.code == 0, answered.err
            assert "remote" in answered.out
        finally:
            server.stop()


def test_a_description_goes_before_the_file_and_options_before_both(
    run: Run, tmp_path: Path, model: Path, config: Path
) -> None:
    run("models", "keygen", tmp_path / "maker.pem")
    describe = tmp_path / "describe.toml"
    describe.write_text(
        'name = "described"\nversion = "0.1.0"\nresearch_only = false\n'
        '[gate]\nfile = "gate.npz"\n[metrics]\nauroc = 0.5\n'
    )
    gate = fit_gate(images(40))
    gate.write(tmp_path / "gate.npz")
    imported = run(
        *("--config", config, "models", "import", model, "--into", tmp_path / "models", *SAID),
        *("--describe", describe, "--json"),
    )
    found = json.loads(imported.out)
    assert (found["name"], found["version"], found["research_only"]) == ("described", "1.0.0", False)
    assert found["metrics"] == {"auroc": 0.5}
    assert (Path(found["directory"]) / "gate.npz").read_bytes() == gate.to_bytes()


def test_a_gate_or_a_reference_that_is_none_is_found_before_it_is_served(
    run: Run, tmp_path: Path, model: Path, config: Path
) -> None:
    run("models", "keygen", tmp_path / "maker.pem")
    describe, into = tmp_path / "describe.toml", tmp_path / "models"
    (tmp_path / "gate.npz").write_bytes(b"gate")
    (tmp_path / "reference.json").write_text("{}")
    for table, file in (("gate", "gate.npz"), ("reference", "reference.json")):
        describe.write_text(f'[{table}]\nfile = "{file}"\n')
        asked = ("--config", config, "models", "import", model, "--into", into, *SAID, "--describe", describe)
        imported = run(*asked, columns=400)
        assert (imported.code, file in imported.err) == (1, True)
        assert not list(into.iterdir())
    package = make_package(tmp_path / "tiny")
    (package.directory / "gate.npz").write_bytes(b"gate")
    write_package(package.directory, description(gate={"file": "gate.npz"}))
    served = ("--set", f'runtime.packages=["{package.directory}"]', "--set", "pipelines=[]")
    checked = run(*served, "config", "check", "--json")
    (problem,) = json.loads(checked.out)["problems"]
    assert "gate.npz" in problem["message"]


def test_what_is_missing_or_wrong_is_one_line(run: Run, tmp_path: Path, model: Path, config: Path) -> None:
    run("models", "keygen", tmp_path / "maker.pem")
    into = ("--into", tmp_path / "models")
    for arguments, words in (
        ((model, *into), "version"),
        ((tmp_path / "absent.onnx", *into, *SAID), "absent.onnx"),
        ((tmp_path / "notes.txt", *into, *SAID), "notes.txt"),
        (("https://models.example.org", *into, *SAID), "name the model"),
    ):
        answer = run("--config", config, "models", "import", *arguments, columns=200)
        assert answer.code == 1
        assert words in answer.err
        assert len(answer.err.strip().splitlines()) == 1
    again = run("models", "keygen", tmp_path / "maker.pem")
    assert (again.code, "exists" in again.err.lower()) == (1, True)


@pytest.mark.parametrize("content", ["two words", "", "ş"])
def test_a_file_that_holds_no_token_is_named(run: Run, tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_text(content, encoding="utf-8")
    url = "http://127.0.0.1:1/v2/models/tiny"
    answer = run("models", "import", url, "--into", tmp_path, *SAID, "--token-file", tmp_path / "token", columns=200)
    assert answer.code == 2
    assert "--token-file" in answer.err
    assert "two words" not in answer.err


def test_authorities_that_are_none_are_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "authorities.pem").write_text("none")
    url = "https://127.0.0.1:1/v2/models/tiny"
    authorities = ("--authorities", tmp_path / "authorities.pem")
    answer = run("models", "import", url, "--into", tmp_path, *SAID, *authorities, columns=200)
    assert answer.code == 1
    assert "authorities.pem" in answer.err


def test_what_comes_with_the_program_is_served_where_signatures_are_demanded_once_a_copy_is_signed(
    run: Run, tmp_path: Path, config: Path
) -> None:
    run("models", "keygen", tmp_path / "maker.pem")
    copied = run("--config", config, "models", "import", "news2", "--into", tmp_path / "models")
    assert copied.code == 0, copied.err
    assert "kopru models sign" in copied.out
    (package,) = (tmp_path / "models").iterdir()
    served = ("--config", config, "--set", f'runtime.packages=["{package}"]', "--set", "pipelines=[]")
    unsigned = run(*served, "config", "check", columns=400)
    assert unsigned.code == 2
    for words in ("runtime.packages", str(package), "kopru models import", "kopru models sign"):
        assert words in unsigned.out
    assert run("--config", config, "models", "sign", package, "--key", tmp_path / "maker.pem").code == 0
    assert run(*served, "config", "check").code == 0
    with pytest.raises(PackageError, match=r"only signed.*kopru models sign"):
        ModelPackage.load(bundled_packages()["news2"], admission(load_settings(config, {}, {}, secrets=False).settings))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda package: (package / "model.toml").unlink(), "is not there"),
        (lambda package: (package / "news2.rules.toml").write_bytes(b"changed"), "files.news2.rules.toml"),
        (lambda package: (package / "more").write_bytes(b""), "more"),
        (lambda package: (package / "model.toml").write_text('name = "news2"'), "version"),
        (lambda package: shutil.copytree(package, package.parent / "again"), "another package is news2"),
    ],
)
def test_config_check_finds_a_package_that_serve_would_refuse(
    run: Run, tmp_path: Path, spoil: Callable[[Path], object], says: str
) -> None:
    package = tmp_path / "news2"
    shutil.copytree(bundled_packages()["news2"], package)
    config = tmp_path / "kopru.toml"
    config.write_text(f'pipelines = []\n[runtime]\npackages = ["{package}", "{tmp_path}/again"]\n')
    spoil(package)
    if not (tmp_path / "again").exists():
        config.write_text(f'pipelines = []\n[runtime]\npackages = ["{package}"]\n')
    answer = run("--config", config, "config", "check", "--json")
    assert answer.code == 2
    (problem,) = json.loads(answer.out)["problems"]
    assert (problem["key"], problem["place"]) == ("runtime.packages", f"{config}:3")
    assert str(tmp_path) in problem["message"]
    assert says in problem["message"]
    with pytest.raises(PackageError):
        load_packages(load_settings(config, {}, {}, secrets=False).settings)


def test_config_check_finds_keys_that_are_none_and_a_pipeline_without_its_model(run: Run, tmp_path: Path) -> None:
    no_key = tmp_path / "maker.pem.pub"
    no_key.write_text("no key")
    keys = run("--set", f'runtime.trusted_keys=["{no_key}"]', "config", "check", "--json")
    assert keys.code == 2
    assert [problem["key"] for problem in json.loads(keys.out)["problems"]] == ["runtime.trusted_keys"]
    alone = run("--set", f'runtime.packages=["{bundled_packages()["news2"]}"]', "config", "check", "--json")
    (problem,) = json.loads(alone.out)["problems"]
    assert problem["key"] == "pipelines"
    assert "chest-xray-3class" in problem["message"]


def test_a_package_is_shown_by_its_folder_too(run: Run, tmp_path: Path) -> None:
    folder = bundled_packages()["ct-lesion-sample"]
    shown = json.loads(run("models", "show", folder, "--json").out)
    assert (shown["name"], shown["directory"]) == ("ct-lesion-sample", str(folder))
    nothing = run("models", "show", tmp_path, columns=400)
    assert nothing.code == 1
    assert "model.toml: is not there" in nothing.err


def test_signatures_cannot_be_demanded_of_nobody(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "kopru.toml"
    path.write_text("[runtime]\nrequire_signatures = true\n")
    answer = run("--config", path, "config", "check", columns=200)
    assert answer.code == 2
    assert "require_signatures" in answer.out
