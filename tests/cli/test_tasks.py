"""`kopru tasks`: many tasks at once, and mistakes that name what is allowed."""

import json

import pytest

from daemon import queue
from daemon.node import Node
from daemon.queue import TaskState
from daemon.states import RevisionState
from tests.cli.conftest import Run
from tests.daemon.rows import add_patient, add_revision, add_study, events

pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


@pytest.fixture
def dead(console: Node) -> dict[str, int]:
    """Numbers of dead tasks, and of one that waits."""
    with console.database.write() as connection:
        study = add_study(connection, add_patient(connection))
        old = add_revision(connection, study, RevisionState.SUPERSEDED)
        failed = add_revision(connection, study, RevisionState.FAILED, number=2)
        for kind, key in (("infer", old), ("deidentify", failed), ("epochs", "1"), ("epochs", "2"), ("leftovers", "9")):
            queue.enqueue(connection, kind, key, {})
    kinds = ["infer", "deidentify", "epochs"]
    tasks = queue.claim(console.database, "somebody", kinds, 9, 60)
    with console.database.write() as connection:
        for task in tasks:
            queue.fail(connection, task, "gone wrong")
    names = {"infer": "superseded", "deidentify": "failed", "1": "first", "2": "second"}
    found = {names.get(task.key) or names[task.kind]: task.id for task in tasks}
    with console.database.read() as connection:
        (waiting,) = queue.list_tasks(connection, kinds=["leftovers"])
    return found | {"waiting": waiting.id}


def states(node: Node) -> dict[int, TaskState]:
    with node.database.read() as connection:
        return {row.id: row.state for row in queue.list_tasks(connection)}


def test_several_numbers_run_again_and_each_is_audited(ask: Run, console: Node, dead: dict[str, int]):
    answer = ask("tasks", "retry", dead["first"], dead["second"], dead["first"])
    assert (answer.code, answer.out) == (0, "2 tasks run again\n")
    assert states(console)[dead["first"]] == states(console)[dead["second"]] == TaskState.READY
    assert states(console)[dead["failed"]] == TaskState.DEAD
    audited = [event["details"]["task"] for event in events(console.database, "task.retried")]
    assert audited == [dead["first"], dead["second"]]


def test_one_that_cannot_stops_no_other_and_ends_with_1(ask: Run, console: Node, dead: dict[str, int]):
    answer = ask("tasks", "retry", dead["superseded"], 999999, dead["failed"])
    assert answer.code == 1
    assert answer.out == "1 task runs again\n"
    assert f"task {dead['superseded']}: a newer revision has replaced this one" in answer.err
    assert "task 999999: there is no task 999999" in answer.err
    assert states(console)[dead["superseded"]] == TaskState.DEAD


def test_all_dead_ones_of_a_kind_run_again(ask: Run, console: Node, dead: dict[str, int]):
    answer = ask("tasks", "retry", "--state", "dead", "--kind", "epochs", "--json")
    assert answer.code == 0
    assert json.loads(answer.out) == {"count": 2, "retried": [dead["first"], dead["second"]], "refused": []}
    assert states(console)[dead["failed"]] == TaskState.DEAD


def test_all_dead_ones_run_again_but_those_that_cannot(ask: Run, console: Node, dead: dict[str, int]):
    answer = ask("tasks", "retry", "--state", "dead", "--json")
    assert answer.code == 1
    said = json.loads(answer.out)
    assert sorted(said["retried"]) == sorted([dead["first"], dead["second"], dead["failed"]])
    assert [refused["task"] for refused in said["refused"]] == [dead["superseded"]]
    assert "replaced" in said["refused"][0]["reason"]
    with console.database.read() as connection:
        waiting = queue.list_tasks(connection, kinds=["leftovers"])
    assert waiting[0].attempts == 0, "what waits was not asked for"
    assert len(events(console.database, "task.retried")) == 3


def test_none_to_retry_is_no_failure(ask: Run, console: Node):
    answer = ask("tasks", "retry", "--state", "dead")
    assert (answer.code, answer.out) == (0, "0 tasks run again\n")


def test_housekeeping_is_listed_where_it_failed_or_is_asked_for(ask: Run, console: Node, dead: dict[str, int]):
    def listed(*arguments: str) -> set[int]:
        answer = ask("tasks", "list", "--json", *arguments)
        assert answer.code == 0, answer.err
        return {row["id"] for row in json.loads(answer.out)}

    failed = set(dead.values()) - {dead["waiting"]}
    assert listed() == failed
    assert listed("--state", "ready") == set()
    assert listed("--all") == failed | {dead["waiting"]}
    assert listed("--kind", "leftovers") == {dead["waiting"]}
    ask("tasks", "retry", dead["first"])
    assert listed() == failed, "it failed, and has not been done since"
    (again,) = queue.claim(console.database, "somebody", ["epochs"], 1, 60)
    with console.database.write() as connection:
        queue.complete(connection, again)
    assert listed() == failed - {dead["first"]}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["list", "--kind", "bogus"], "there is no such kind; there are: deidentify, infer, report,"),
        (["list", "--state", "bogus"], "there is no such state; there are: ready, running, done, dead, closed"),
        (["retry", "--state", "running"], "there is no such state; there are: dead, closed, ready"),
        (["retry", "--state", "dead", "--kind", "bogus"], "there is no such kind; there are: deidentify"),
        (["retry"], "give numbers of tasks, or --state"),
        (["retry", "1", "--state", "dead"], "give numbers of tasks, or --state"),
        (["retry", "1", "--kind", "infer"], "give numbers of tasks, or --state"),
        (["retry", "one"], "valid integer"),
    ],
)
def test_a_mistake_is_a_usage_error_that_lists_what_is_allowed(ask: Run, arguments: list[str], says: str):
    answer = ask("tasks", *arguments, columns=300)
    assert answer.code == 2
    assert says in answer.err
