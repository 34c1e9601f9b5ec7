"""`kopru models evaluate | benchmark` on the bundled model and made-up images, without a daemon."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import pipelines
from daemon.cli.app import app
from daemon.cli.infer import answer_about
from daemon.cli.model_versions import app as versions
from runtime import InferenceResult
from tests.runtime.packages import make_package

MODEL = Path(pipelines.__file__).parent / "packages" / "chest-xray-3class"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        Image.fromarray(random.integers(0, 255, (300, 300), dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "labels.csv").write_text("file,label\na.png,Normal\nb.png,Pneumonia\n", encoding="utf-8")
    return tmp_path / "labels.csv"


def run(*arguments: object):
    return CliRunner().invoke(versions, [str(a) for a in arguments])


def test_what_the_gate_refuses_is_counted_apart_and_measured_nowhere(table: Path):
    answer = run("evaluate", MODEL, table)
    assert (answer.exit_code, "no file could be analysed" in answer.output) == (1, True)


def test_a_model_is_measured(table: Path, monkeypatch: pytest.MonkeyPatch):
    certain = {"a.png": "Normal", "b.png": "Normal"}

    def answer(path: Path, package, runtime) -> dict:
        return {"probabilities": {label.name: float(label.name == certain[path.name]) for label in package.labels}}

    monkeypatch.setattr("daemon.cli.infer.answer_about", answer)
    measured = json.loads(run("evaluate", MODEL, table, "--json").stdout)
    assert (measured["accuracy"]["hits"], measured["accuracy"]["total"]) == (1, 2)
    assert measured["accuracy"]["low"] == pytest.approx(0.0945, abs=5e-5)  # Wilson, 1 of 2
    assert [sum(row) for row in measured["confusion"]] == [1, 1, 0]
    assert measured["labels"][2]["auroc"] is None
    assert "50.0%" in run("evaluate", MODEL, table).stdout


def test_an_answer_holds_the_scores_as_they_are_and_not_rounded_to_a_threshold(table: Path) -> None:
    package = make_package(table.parent / "tiny")
    nearly = np.float32([[0.49999997, 0.3, 0.20000003]])

    class Answering:
        def infer(self, *_: object, **__: object) -> InferenceResult:
            return InferenceResult({"probabilities": nearly}, "tiny", "1.0.0", "", 1, 0.0, 0.0)

    answer = answer_about(table.parent / "a.png", package, Answering())  # type: ignore[arg-type]
    assert list(answer["probabilities"].values()) == nearly[0].tolist()
    assert answer["probabilities"]["class 0"] < 0.5


@pytest.mark.parametrize("text", ["name,label\n", "file,label\na.png,Bogus\n", "file,label\n"])
def test_a_wrong_table_is_a_mistake_that_is_named(table: Path, text: str):
    table.write_text(text, encoding="utf-8")
    assert run("evaluate", MODEL, table).exit_code == 2


@pytest.mark.parametrize(
    "content", ["file,label\n".encode("utf-16"), b"file,label\n\xfe,x\n", b"file,label\n" + b"x" * 140_000]
)
def test_what_is_no_table_is_a_wrong_use(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "labels.csv").write_bytes(content)
    answer = run("evaluate", MODEL, tmp_path / "labels.csv")
    assert answer.exit_code == 2


def test_speed_is_measured_for_each_size():
    rows = json.loads(run("benchmark", MODEL, "--batch", 1, "--batch", 4, "--seconds", 0.1, "--json").stdout)
    assert [row["batch"] for row in rows] == [1, 4]
    assert all(0 < row["p50_ms"] <= row["p99_ms"] and row["samples_per_second"] > 0 for row in rows)


def test_the_commands_are_found_where_they_are_looked_for():
    shown = CliRunner().invoke(app, ["models", "--help"]).output
    for name in ("promote", "rollback", "experiment", "feedback", "evaluate", "benchmark"):
        assert name in shown
