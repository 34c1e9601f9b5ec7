"""The whole project passes its checks, and the project's own rules catch what they are for."""

import ast

import pytest

from tests.lint.checks import TOOLS, run_tool
from tests.lint.rules import RULES, blindness_in, dead_ends_in, fhir_imports_in, foreign_places_in


@pytest.mark.parametrize("tool", TOOLS)
def test_the_project_passes(tool):
    done = run_tool(tool)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_project_keeps_the_rule(rule):
    assert list(rule()) == []


@pytest.mark.parametrize(
    "line",
    [
        "from fhir.resources.patient import Patient",
        "from fhir.resources import patient",
        "import fhir.resources",
        "from fhir.resources.STU3 import patient",
    ],
)
def test_fhir_other_than_r4b_is_caught(line):
    assert list(fhir_imports_in("a.py", ast.parse(line)))


def test_fhir_r4b_is_allowed():
    assert not list(fhir_imports_in("a.py", ast.parse("from fhir.resources.R4B.patient import Patient")))


@pytest.mark.parametrize(
    "code",
    [
        "httpx.Client(verify=False)",
        "context.verify_mode = ssl.CERT_NONE",
        "with contextlib.suppress(Exception): work()",
        "try:\n    work()\nexcept Exception:\n    pass",
        "try:\n    work()\nexcept:\n    pass",
    ],
)
def test_blindness_is_caught(code):
    assert list(blindness_in("a.py", ast.parse(code)))


@pytest.mark.parametrize(
    "line",
    [  # written in two pieces, so that the tree itself has none of them
        f"path = '/{'root'}/thing'",
        f"see /{'work'}/shared",
        "--index-url x",
        "https://mirror.example/simple/",
    ],
)
def test_foreign_places_are_caught(line):
    assert list(foreign_places_in("a.md", line))


@pytest.mark.parametrize("line", ["see [it](nowhere.md)", "in `daemon/nowhere.py`"])
def test_dead_ends_are_caught(line):
    assert list(dead_ends_in("README.md", line))
