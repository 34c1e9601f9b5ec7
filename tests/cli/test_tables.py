"""What a person has to copy stands whole on one line, on terminals of any width; text is folded between words."""

import json
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from daemon import queue
from daemon.audit import AuditEvent, Id, Kind
from daemon.cli.table import Table
from daemon.node import Node
from daemon.states import DeliveryState, RevisionState, Standing
from tests.cli.conftest import Run
from tests.daemon.rows import add_deliveries, add_instance, add_patient, add_revision, add_study, new_id

WITH_ANY_DATABASE = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
REASON = "one SOP Instance UID with different pixels, and some more words, so that this is a long reason to give"


def lines(names: list[str], texts: list[str], rows: list[dict[str, str]], width: int, *first_to_go: str) -> list[str]:
    table = Table(names, texts, [{name: Text(value) for name, value in row.items()} for row in rows])
    return [line.plain for line in table.lines(Console(width=width), first_to_go)]


def test_text_stands_beside_its_row_where_there_is_room_and_below_where_not():
    row = {"id": "0123456789", "reason": "a reason of several words"}
    assert lines(["id"], ["reason"], [row], 60) == ["id          reason", "0123456789  a reason of several words"]
    assert lines(["id"], ["reason"], [row], 30) == ["id", "0123456789", "    a reason of several words"]


def test_columns_go_in_the_order_given_and_are_named():
    rows = [{"id": "0123456789", "state": "held", "kind": "abcdef"}]
    assert lines(["id", "state", "kind"], [], rows, 80, "kind", "state")[0] == "id          state  kind"
    shown = lines(["id", "state", "kind"], [], rows, 18, "kind", "state")
    assert shown[:2] == ["id          state", "0123456789  held"]
    assert shown[2] == "no room for: kind;"


WORD = st.text(st.characters(categories=["L", "N"], exclude_characters="\u00ad"), min_size=1, max_size=40)


@given(
    st.lists(st.fixed_dictionaries({"id": WORD, "key": WORD, "reason": st.lists(WORD, max_size=8).map(" ".join)})),
    st.integers(20, 150),
)
def test_no_word_is_ever_cut(rows: list[dict[str, str]], width: int):
    if not rows:
        return
    printed = " ".join(lines(["id", "key"], ["reason"], rows, width, "key")).split()
    for row in rows:
        assert row["id"] in printed
        assert all(word in printed for word in row["reason"].split())


@pytest.fixture
def ids(node: Node) -> list[str]:
    """Rows of every kind, with the longest ids, names and reasons; the ids."""
    with node.database.write() as connection:
        patient = add_patient(connection)
        study = add_study(connection, patient)
        revision = add_revision(connection, study, RevisionState.HELD, reason=REASON)
        current = add_instance(connection, revision, study, patient, modality="DX")
        conflict = add_instance(connection, None, study, patient, standing=Standing.CONFLICT, reason=REASON)
        add_deliveries(connection, revision, patient, DeliveryState, REASON)
        aside = new_id()
        add_instance(connection, None, study, patient, id=aside, standing=Standing.QUARANTINED, reason=REASON)
        queue.enqueue(connection, "deidentify", revision, {"revision": revision})
        event = AuditEvent(
            Kind.DEIDENTIFICATION_REFUSED,
            "user:somebody",
            "5ab1ec75" * 4,
            {"revision": Id(revision), "study": Id(study)},
        )
        node.audit.record(connection, event)
    (task,) = queue.claim(node.database, "somebody", ["deidentify"], 1, 60)
    with node.database.write() as connection:
        queue.fail(connection, task, REASON)
    return [study, revision, current, conflict, aside]


@WITH_ANY_DATABASE
@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_every_id_can_be_copied_on_any_terminal(ask: Run, ids: list[str], columns: int):
    study, revision, current, conflict, aside = ids
    pseudonym = json.loads(ask("studies", "list", "--json").out)[0]["pseudonym"]
    for command, wanted in (
        (["studies", "list"], [study, "held"]),
        (["studies", "show", study], [study, pseudonym, current, conflict]),
        (["tasks", "list"], ["1", "dead", "deidentify"]),
        (["audit", "tail"], [f"revision={revision}", f"study={study}", f"subject={'5ab1ec75' * 4}"]),
        (["status"], [aside]),
    ):
        said = ask(*command, columns=columns)
        assert all(word in said.out.split() for word in wanted), f"{command} at {columns}:\n{said.out}"
        assert "…" not in said.out
        if columns >= 80:
            assert max(map(len, said.out.splitlines())) <= columns, said.out


@WITH_ANY_DATABASE
def test_reasons_and_errors_are_there_at_80_columns_word_for_word(ask: Run, ids: list[str]):
    for command in (["studies", "list"], ["tasks", "list"], ["studies", "show", ids[0]], ["status"]):
        assert REASON in " ".join(ask(*command, columns=80).out.split())


@WITH_ANY_DATABASE
def test_the_pseudonym_is_shown_at_80_columns(ask: Run, ids: list[str]):
    (study,) = json.loads(ask("studies", "list", "--json").out)
    assert study["pseudonym"] in ask("studies", "list", columns=80).out.split()


def test_settings_and_models_are_whole_too(run: Run):
    settings = json.loads(run("config", "show", "--json").out)
    said = run("config", "show", columns=80).out.split()
    for row in settings:
        assert row["key"] in said
        assert not isinstance(row["value"], str) or all(word in said for word in row["value"].split())
    models = json.loads(run("models", "list", "--json").out)
    narrow = run("models", "list", columns=80).out
    assert "no room for: weights sha256" in narrow
    for model in models:
        assert model["weights_sha256"] in run("models", "list", columns=120).out.split()
        assert model["weights_sha256"] in run("models", "show", model["name"], columns=80).out.split()
        assert textwrap.shorten(model["intended_use"], 60, placeholder="") in " ".join(narrow.split())
