"""FHIRPath expressions on single elements: the criteria of ``where`` and the cases of a generalisation.

Evaluated by `fhirpathpy`. It must never take a text for an expression that it reads only in part, and no error of the
evaluation gets out as it is, for these tell values.
"""

from threading import Lock
from typing import Any

from antlr4 import CommonTokenStream, InputStream  # type: ignore[import-untyped]
from antlr4.error.ErrorListener import ErrorListener  # type: ignore[import-untyped]
from fhirpathpy import apply_parsed_path
from fhirpathpy.engine.nodes import ResourceNode
from fhirpathpy.models import models
from fhirpathpy.parser import parse
from fhirpathpy.parser.generated.FHIRPathLexer import FHIRPathLexer
from fhirpathpy.parser.generated.FHIRPathParser import FHIRPathParser

from anonymize.fhir.errors import ResourceQuarantine, ResourceReason
from anonymize.fhir.nodes import Node

_engine = Lock()  # fhirpathpy keeps the model of the evaluation that runs in a global


class PathError(ValueError):
    """A path or expression that is not understood; says why, in a sentence."""


class _Strict(ErrorListener):  # type: ignore[misc]
    """Refuses what `fhirpathpy` would read as far as it goes and then leave."""

    def syntaxError(self, *_arguments: object) -> None:  # noqa: N802 - ANTLR's name
        raise PathError("is no FHIRPath expression")


def _check_syntax(text: str) -> None:
    strict = _Strict()
    lexer = FHIRPathLexer(InputStream(text))
    parser = FHIRPathParser(CommonTokenStream(lexer))
    for part in (lexer, parser):
        part.removeErrorListeners()
        part.addErrorListener(strict)
    parser.entireExpression()  # type: ignore[no-untyped-call]


class Expression:
    """A FHIRPath expression that `fhirpathpy` evaluates on the value of one element, which is its ``$this``."""

    def __init__(self, text: str) -> None:
        try:
            _check_syntax(text)
            # In select() $this is bound; at the root fhirpathpy leaves it unbound.
            self._parsed = parse(f"select({text})")  # type: ignore[no-untyped-call]
        except Exception as error:
            raise PathError(f"{text!r} is no FHIRPath expression") from error

    def evaluate(self, node: Node) -> list[Any]:
        """Give what the expression yields of `node`. Raises `ResourceQuarantine` where it fails on the value."""
        try:
            with _engine:
                focus = ResourceNode.create_node(node.value, node.type)  # type: ignore[no-untyped-call]
                return list(apply_parsed_path(focus, self._parsed, {}, models["r4"]))  # type: ignore[no-untyped-call]
        except Exception:  # noqa: BLE001 - its errors are bare and tell values: neither text nor cause may get out
            raise ResourceQuarantine(ResourceReason.RULE_FAILED, node.path) from None

    def holds(self, node: Node) -> bool:
        """Whether the expression is true of `node`. What is neither true, false nor empty is a failure, no answer."""
        answer = self.evaluate(node)
        if answer in ([], [False], [True]):
            return answer == [True]
        raise ResourceQuarantine(ResourceReason.RULE_FAILED, node.path)
