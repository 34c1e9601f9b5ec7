"""The part of FHIRPath that selects elements, evaluated by the identity of nodes so that they can be changed.

Understood: names (``Patient.name.given``, ``Observation.value``), ``nodesByType('T')`` and ``nodesByName('x')``,
``children()``, ``descendants()``, ``where(criterion)``, ``extension('url')``, ``ofType(T)``, ``as(T)``, ``as T``,
``first()``, ``last()``, ``[n]``, ``|`` and parentheses. A criterion may be any FHIRPath: `fhirpathpy` evaluates it.
What selects nothing that exists (a literal, ``select``, ``iif`` …) is refused when the path is read, never ignored.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeAlias

from anonymize.fhir.definitions import Kind, definitions
from anonymize.fhir.expressions import Expression, PathError
from anonymize.fhir.nodes import Node

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<name>[A-Za-z_]\w*|`[^`]+`)|(?P<text>'(?:[^'\\]|\\.)*')|(?P<number>\d+)|(?P<mark>.))"
)
_EQUALS: Final = re.compile(r"\s*([A-Za-z]\w*)\s*=\s*'([^'\\]*)'\s*")

_ABSTRACT: Final = ("Resource", "DomainResource", "BackboneElement")

_Step: TypeAlias = Callable[[list[Node]], list[Node]]
_Selector: TypeAlias = Callable[["ResourceIndex"], list[Node]]


class ResourceIndex:
    """One resource without those nested in it, with its nodes by type and by name."""

    def __init__(self, root: Node) -> None:
        self.root = root
        self.by_type: dict[str, list[Node]] = {}
        self.by_name: dict[str, list[Node]] = {}
        for node in root.within():
            self.by_type.setdefault(node.type, []).append(node)
            self.by_name.setdefault(node.name, []).append(node)
            if node.element.choice is not None:
                self.by_name.setdefault(node.element.choice, []).append(node)


@dataclass(frozen=True, slots=True)
class Path:
    """A path that was read from `text`. `select` gives the nodes of one resource, perhaps one more than once."""

    text: str
    select: _Selector


def parse_path(text: str) -> Path:
    """Read a path. Raises `PathError` for what is not understood."""
    reader = _Reader(text)
    selector = reader.union()
    reader.expect_end()
    return Path(text, selector)


def _is_of(node: Node, type_name: str) -> bool:
    if node.type == type_name:
        return True
    kind = definitions()[node.type].kind if node.type in definitions() else None
    if type_name in ("Resource", "DomainResource"):
        return kind is Kind.RESOURCE
    return type_name == "BackboneElement" and kind is Kind.BACKBONE


def _named(name: str) -> _Step:
    return lambda nodes: [c for n in nodes for c in n.children if name in (c.element.name, c.element.choice)]


@cache
def _types() -> frozenset[str]:
    elements = {element.type for definition in definitions().values() for element in definition.elements.values()}
    return frozenset({*definitions(), *elements, *_ABSTRACT})


def _known_type(name: str) -> str:
    if name not in _types():
        raise PathError(f"{name!r} is no type of R4")
    return name


def _of_type(name: str) -> _Step:
    _known_type(name)
    return lambda nodes: [found for n in nodes for found in _typed(n, name)]


def _typed(node: Node, name: str) -> list[Node]:
    """Give `node` if it is of the type. Of a resource, such elements with a choice of types (`Observation.ofType(T)`).

    The latter is how the anonymizer of Microsoft documents what FHIRPath writes as ``Observation.value.ofType(T)``.
    """
    if _is_of(node, name) or not node.is_resource:
        return [node] if _is_of(node, name) else []
    return [child for child in node.children if child.element.choice is not None and child.type == name]


def _nodes_by_type(name: str) -> _Step:
    _known_type(name)
    return lambda nodes: [inner for n in nodes for inner in n.within() if _is_of(inner, name)]


def _nodes_by_name(name: str) -> _Step:
    return lambda nodes: [inner for n in nodes for inner in n.within() if name in (inner.name, inner.element.choice)]


def _descendants(nodes: Iterable[Node]) -> list[Node]:
    return [inner for n in nodes for inner in n.within() if inner is not n]


def _where(criterion: str) -> _Step:
    expression = Expression(criterion)
    simple = _EQUALS.fullmatch(criterion)
    if simple is None:
        return lambda nodes: [n for n in nodes if expression.holds(n)]
    name, wanted = simple.groups()

    def equals(node: Node) -> bool:
        value = node.value.get(name) if isinstance(node.value, Mapping) else None
        return value == wanted if isinstance(value, str) else expression.holds(node)

    return lambda nodes: [n for n in nodes if equals(n)]


def _extensions(url: str) -> _Step:
    named = _named("extension")
    return lambda nodes: [n for n in named(nodes) if n.value.get("url") == url]


def _at(number: int) -> _Step:
    return lambda nodes: nodes[number : number + 1]


def _then(selector: _Selector, step: _Step) -> _Selector:
    return lambda index: step(selector(index))


_PLAIN: Final[Mapping[str, _Step]] = {
    "children": lambda nodes: [child for n in nodes for child in n.children],
    "descendants": _descendants,
    "first": lambda nodes: nodes[:1],
    "last": lambda nodes: nodes[-1:],
}


class _Reader:
    """Reads one path from left to right (the grammar is that of FHIRPath N1, 5 and 12, so far as it selects)."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def union(self) -> _Selector:
        selectors = [self._typed()]
        while self._accept("|"):
            selectors.append(self._typed())
        return selectors[0] if len(selectors) == 1 else lambda index: [n for select in selectors for n in select(index)]

    def expect_end(self) -> None:
        if self._peek():
            raise PathError(f"not understood from {self._text[self._at :].strip()!r}")

    def _typed(self) -> _Selector:
        selector = self._term()
        while self._accept("as"):
            selector = _then(selector, _of_type(self._name()))
        return selector

    def _term(self) -> _Selector:
        if self._accept("("):
            selector = self.union()
            self._expect(")")
        else:
            selector = self._start()
        while True:
            if self._accept("."):
                selector = _then(selector, self._step(self._name()))
            elif self._accept("["):
                selector = _then(selector, _at(self._number()))
                self._expect("]")
            else:
                return selector

    def _start(self) -> _Selector:
        name = self._name()
        if name in ("nodesByType", "nodesByName"):
            wanted = self._text_argument()
            if name == "nodesByName":
                return lambda index: index.by_name.get(wanted, [])
            if wanted in _ABSTRACT:
                return lambda index: _nodes_by_type(wanted)([index.root])
            _known_type(wanted)
            return lambda index: index.by_type.get(wanted, [])
        if name[0].isupper() and self._peek() != "(":
            if name not in definitions() and name not in ("Resource", "DomainResource"):
                raise PathError(f"{name!r} is no resource type of R4")
            return lambda index: [index.root] if _is_of(index.root, name) else []
        step = self._step(name)
        return lambda index: step([index.root])

    def _step(self, name: str) -> _Step:
        if self._peek() != "(":
            return _named(name)
        if name == "where":
            return _where(self._criterion())
        if name in ("ofType", "as"):
            self._expect("(")
            type_name = self._name()
            if type_name in ("FHIR", "System") and self._accept("."):
                type_name = self._name()
            self._expect(")")
            return _of_type(type_name)
        if name in ("nodesByType", "nodesByName"):
            wanted = self._text_argument()
            return _nodes_by_type(wanted) if name == "nodesByType" else _nodes_by_name(wanted)
        if name == "extension":
            return _extensions(self._text_argument())
        if name not in _PLAIN:
            raise PathError(f"the function {name}() selects nothing that can be changed, or is not known")
        self._expect("(")
        self._expect(")")
        return _PLAIN[name]

    def _criterion(self) -> str:
        """Give what stands between the parentheses, which may hold others and texts."""
        self._expect("(")
        start, depth = self._at, 1
        while depth:
            match self._next():
                case "(":
                    depth += 1
                case ")":
                    depth -= 1
                case "":
                    raise PathError("a parenthesis is not closed")
        return self._text[start : self._at - 1]

    def _text_argument(self) -> str:
        self._expect("(")
        token = self._next()
        if not token.startswith("'") or "\\" in token:
            raise PathError("a plain text in single quotes is wanted here")
        self._expect(")")
        return token[1:-1]

    def _name(self) -> str:
        token = self._next()
        if not token or not (token[0].isalpha() or token[0] in "_`"):
            raise PathError(f"a name is wanted here, not {token!r}")
        return token.strip("`")

    def _number(self) -> int:
        token = self._next()
        if not token.isdecimal():
            raise PathError(f"a number is wanted here, not {token!r}")
        return int(token)

    def _match(self) -> tuple[str, int]:
        match = _TOKEN.match(self._text, self._at)
        return (match[0].strip(), match.end()) if match is not None else ("", len(self._text))

    def _peek(self) -> str:
        return self._match()[0]

    def _next(self) -> str:
        token, self._at = self._match()
        return token

    def _accept(self, wanted: str) -> bool:
        token, end = self._match()
        if token == wanted:
            self._at = end
        return token == wanted

    def _expect(self, wanted: str) -> None:
        if not self._accept(wanted):
            raise PathError(f"{wanted!r} is wanted here, not {self._peek()!r}")
