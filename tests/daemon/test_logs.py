"""What gets into the log: ids and places, in each thread and process; never what an exception or a library says."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.planted import search_bytes

NAME = "KURMACA^BELGIN"
NUMBER = "98765432198"
PLANTED = (NAME, NUMBER)

_BEGIN = f"""
import sys, threading, structlog
from pathlib import Path
from daemon.logs import configure_logging

NAME, NUMBER = {NAME!r}, {NUMBER!r}
configure_logging("info", sys.argv[1], process="engine 0")
log = structlog.get_logger("kopru")

class PatientError(Exception):
    pass

def fail():
    try:
        raise KeyError(NUMBER)
    except KeyError as cause:
        raise PatientError(f"cannot report on {{NAME}}") from cause
"""

# Each way by which a message could get out; all of them happen in this order of the names of their events.
WAYS = {
    "caught": """
        try:
            fail()
        except PatientError:
            log.exception("caught", task=7)
    """,
    "given_as_error": """
        try:
            fail()
        except PatientError as error:
            log.error("given_as_error", exc_info=error, task=7)
    """,
    "given_as_tuple": """
        try:
            fail()
        except PatientError:
            log.error("given_as_tuple", exc_info=sys.exc_info(), task=7)
    """,
    "given_as_field": """
        log.warning("given_as_field", task=7, error=PatientError(NAME), inner={"all": [PatientError(NUMBER), 7]})
    """,
    "object": """
        from pydicom.dataset import Dataset
        data = Dataset()
        data.PatientName, data.PatientID = NAME, NUMBER
        log.warning("object", task=7, data=data, raw=NAME.encode(), inside=(data,))
    """,
    "thread": """
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
    """,
    "pool": """
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(fail)
            future.add_done_callback(lambda done: done.result())
    """,
    "unraisable": """
        class Handle:
            def __del__(self):
                fail()
        Handle()
    """,
    "library_warning": """
        import warnings
        warnings.warn(f"Invalid value for VR PN: '{NAME}'")
    """,
    "library_log": """
        import logging
        logging.getLogger("somelibrary").error("cannot parse %s", NAME)
        logging.error("cannot parse %s", NUMBER, exc_info=PatientError(NAME))
    """,
    "pydicom_itself": """
        import pydicom
        from pydicom.dataset import Dataset
        data = Dataset()
        data.StudyInstanceUID = NAME
        data.StudyDate = NUMBER
        data.PatientID = NAME * 8
    """,
    "asyncio": """
        import asyncio
        async def work():
            async def inner():
                fail()
            task = asyncio.ensure_future(inner())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            del task
        asyncio.run(work())
    """,
    "main": """
        fail()
    """,
}


def said_by(way: str, tmp_path: Path, form: str) -> bytes:
    """All that a process says when that happens in it."""
    script = tmp_path / "script.py"
    script.write_text(_BEGIN + textwrap.dedent(WAYS[way]))
    done = subprocess.run([sys.executable, script, form], capture_output=True, timeout=60)
    assert (done.returncode != 0) == (way == "main")
    return done.stdout + done.stderr


@pytest.mark.parametrize("way", WAYS)
def test_no_message_gets_into_the_log_whichever_way_it_takes(way: str, tmp_path: Path):
    said = said_by(way, tmp_path, "json")
    assert search_bytes(said, PLANTED, way) == []
    events = [json.loads(line) for line in said.splitlines()]  # each line is an event: nothing speaks past the log
    assert events, "it is not passed over in silence either"
    for event in events:
        assert event["event"] in (way, "uncaught", "library_message")
        if event["event"] != "library_message":
            assert event["process"] == "engine 0"
        if event["event"] == "uncaught":
            assert event["error"] == "PatientError"
            assert event["trace"][-1].startswith("__main__:")
        if way in ("caught", "given_as_error", "given_as_tuple"):
            assert (event["event"], event["error"], event["task"]) == (way, "PatientError", 7)
            assert len(event["trace"]) == 2
            assert all(place.startswith("__main__:") for place in event["trace"])


def test_the_search_would_find_what_a_log_quotes(tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(_BEGIN + "fail()".replace("fail", "sys.excepthook = sys.__excepthook__; fail"))
    done = subprocess.run([sys.executable, script, "json"], capture_output=True, timeout=60)
    assert {sighting.identifier for sighting in search_bytes(done.stderr, PLANTED, "log")} == {NAME, NUMBER}


@pytest.mark.parametrize("way", ["caught", "given_as_field", "object", "main"])
def test_the_form_for_people_says_no_more(way: str, tmp_path: Path):
    said = said_by(way, tmp_path, "console")
    assert search_bytes(said, PLANTED, way) == []
    assert b"engine 0" in said


def test_fields_get_into_the_log_from_every_thread(tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(
        _BEGIN
        + """
def work(bound):
    bound.info("task_ended", task=7, seconds=0.5, paths=[Path("/srv/a")], counts={"ready": 1}, none=None, ok=True)

work(log.bind(kind="infer"))
thread = threading.Thread(target=work, args=(log.bind(kind="report"),))
thread.start()
thread.join()
log.debug("not_shown")
"""
    )
    done = subprocess.run([sys.executable, script, "json"], capture_output=True, timeout=60, check=True)
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert [event.pop("kind") for event in events] == ["infer", "report"]
    for event in events:
        assert event.pop("timestamp").endswith("Z")
        assert event == {
            "event": "task_ended",
            "level": "info",
            "process": "engine 0",
            "task": 7,
            "seconds": 0.5,
            "paths": ["/srv/a"],
            "counts": {"ready": 1},
            "none": None,
            "ok": True,
        }
