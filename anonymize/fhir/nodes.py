"""Reads a resource, given as JSON values, into a tree in which every element knows its type (FHIR R4 2.6.2).

What the standard does not know is left out and counted; what has the wrong shape raises. Nothing of the input is
changed, and no message holds a value or a name that the standard does not have.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from math import isfinite
from typing import Any, Final

from anonymize.fhir.definitions import INTEGER_TYPES, Definition, Element, definitions, is_primitive, is_resource
from anonymize.fhir.errors import ResourceQuarantine, ResourceReason

DEEPEST: Final = 100  # elements within elements; real resources stay below 20
_MOST_DIGITS: Final = 1000  # of a number, and in its exponent; FHIR asks for 18 (R4 2.24.0.1)
_LARGEST_NUMBER: Final = 10**_MOST_DIGITS

_RESOURCE: Final = Element("resource", "Resource", many=False, required=False, choice=None, codes=None)
_PRIMITIVE_ID: Final = Element("id", "string", many=False, required=False, choice=None, codes=None)
_PRIMITIVE_EXTENSION: Final = Element("extension", "Extension", many=True, required=False, choice=None, codes=None)


class Node:
    """One element of a resource, each item of a list by itself.

    `path` names it for people; `value` is the JSON value (None for a primitive that has only extensions); `children`
    are in the order of the input, a primitive's extensions among them. `unknown` counts what was left out. `rule` is
    the number of the first rule that selects this very node, or one beyond the last.
    """

    __slots__ = ("children", "element", "parent", "path", "rule", "type", "unknown", "value")

    def __init__(self, element: Element, type_name: str, path: str, value: Any, parent: "Node | None") -> None:
        self.element = element
        self.type = type_name
        self.path = path
        self.value = value
        self.parent = parent
        self.children: list[Node] = []
        self.unknown: list[str] = []
        self.rule = 1 << 30

    @property
    def name(self) -> str:
        """The JSON name of the element."""
        return self.element.name

    @property
    def is_resource(self) -> bool:
        """Whether a resource starts here."""
        return self.element.type == "Resource"

    def sibling(self, name: str) -> Any:
        """Give the JSON value of another element of the same parent; None if there is none."""
        holder = self.parent.value if self.parent is not None else None
        return holder.get(name) if isinstance(holder, Mapping) else None

    def within(self) -> Iterator["Node"]:
        """Give this node and all within it, down to the resources that are nested in it, which are left out."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += [child for child in reversed(node.children) if not child.is_resource]

    def resources(self) -> Iterator["Node"]:
        """Give every resource from here downwards, this one first."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            if node.is_resource:
                yield node
            waiting += reversed(node.children)


def read_resource(resource: Mapping[str, Any]) -> Node:
    """Read a resource. Raises `ResourceQuarantine` for an unknown type, a wrong shape, or too many levels."""
    name = resource.get("resourceType") if isinstance(resource, Mapping) else None
    if not isinstance(name, str):
        raise ResourceQuarantine(ResourceReason.MALFORMED_RESOURCE, "resourceType")
    if not is_resource(name):
        raise ResourceQuarantine(ResourceReason.UNKNOWN_RESOURCE_TYPE, "resourceType")
    root = Node(_RESOURCE, name, name, resource, None)
    _fill(root, definitions()[name], 1)
    return root


def _malformed(path: str) -> ResourceQuarantine:
    return ResourceQuarantine(ResourceReason.MALFORMED_RESOURCE, path)


def _fill(node: Node, definition: Definition, depth: int) -> None:
    if depth > DEEPEST:
        raise ResourceQuarantine(ResourceReason.TOO_DEEP, definition.name)
    chosen: dict[str, str] = {}
    for key in _keys(node):
        element = definition.elements.get(key)
        if element is None:
            node.unknown.append(f"{node.path}.?")
            continue
        if element.choice is not None and chosen.setdefault(element.choice, key) != key:
            raise _malformed(f"{node.path}.{element.choice}")
        for number, value, companion in _items(node, element):
            path = f"{node.path}.{key}[{number}]" if element.many else f"{node.path}.{key}"
            if is_primitive(element.type):
                node.children.append(_primitive(node, element, path, value, companion, depth))
            else:
                _complex(node, element, path, value, depth)


def _keys(node: Node) -> list[str]:
    """Give the names of the elements; that of a primitive may be there only with an underscore (FHIR R4 2.6.2.3)."""
    keys: dict[str, None] = {}
    for key in node.value:
        if not isinstance(key, str):
            raise _malformed(node.path)
        if not (key == "resourceType" and node.is_resource):
            keys[_plain(node.type, key)] = None
    return list(keys)


def _plain(type_name: str, key: str) -> str:
    element = definitions()[type_name].elements.get(key[1:]) if key.startswith("_") else None
    return key[1:] if element is not None and is_primitive(element.type) else key


def _items(node: Node, element: Element) -> Iterator[tuple[int, Any, Any]]:
    """Give number, value and the companion that has a primitive's extensions, for each item of an element."""
    value, companion = node.value.get(element.name), node.value.get(f"_{element.name}")
    path = f"{node.path}.{element.name}"
    if not element.many:
        if value is None and companion is None:
            raise _malformed(path)
        yield 0, value, companion
        return
    values, companions = ([] if x is None else x for x in (value, companion))
    if not isinstance(values, list) or not isinstance(companions, list):
        raise _malformed(path)
    if values and companions and len(values) != len(companions):
        raise _malformed(path)
    for number in range(max(len(values), len(companions))):
        yield number, values[number] if values else None, companions[number] if companions else None


def _complex(parent: Node, element: Element, path: str, value: Any, depth: int) -> None:
    if not isinstance(value, Mapping):
        raise _malformed(path)
    type_name: Any = element.type
    if type_name == "Resource":
        type_name = value.get("resourceType")
        if not isinstance(type_name, str):
            raise _malformed(path)
        if not is_resource(type_name):
            parent.unknown.append(path)
            return
    node = Node(element, type_name, path, value, parent)
    _fill(node, definitions()[type_name], depth + 1)
    parent.children.append(node)


def _primitive(parent: Node, element: Element, path: str, value: Any, companion: Any, depth: int) -> Node:
    if value is not None and not has_json_type(value, element.type):
        raise _malformed(path)
    node = Node(element, element.type, path, value, parent)
    if companion is None:
        return node
    if not isinstance(companion, Mapping):
        raise _malformed(path)
    if _is_text(identifier := companion.get("id")):
        node.children.append(Node(_PRIMITIVE_ID, "string", f"{path}.id", identifier, node))
    node.unknown += [f"{path}.?" for key in companion if key not in ("id", "extension")]
    extensions = companion.get("extension", [])
    if not isinstance(extensions, list):
        raise _malformed(path)
    for number, extension in enumerate(extensions):
        _complex(node, _PRIMITIVE_EXTENSION, f"{path}.extension[{number}]", extension, depth + 1)
    return node


def has_json_type(value: Any, type_name: str) -> bool:
    """Whether a JSON value is one that a primitive type may have (FHIR R4 2.6.2.3)."""
    if type_name == "boolean":
        return isinstance(value, bool)
    if type_name in INTEGER_TYPES:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST_NUMBER
    if type_name == "decimal":
        return not isinstance(value, bool) and isinstance(value, int | float | Decimal) and _is_number(value)
    return _is_text(value)


def _is_text(value: Any) -> bool:
    """Whether a value is text that can be written: halves of surrogate pairs, which JSON lets through, cannot."""
    return isinstance(value, str) and (
        value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)
    )


def _is_number(value: float | Decimal) -> bool:
    """Whether a number is finite and can be reckoned with; a few letters of JSON make one that cannot."""
    if isinstance(value, Decimal):
        return (
            value.is_finite() and abs(value.adjusted()) < _MOST_DIGITS and len(value.as_tuple().digits) < _MOST_DIGITS
        )
    return isfinite(value) if isinstance(value, float) else abs(value) < _LARGEST_NUMBER
