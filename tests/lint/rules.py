"""The project's own rules: what no ready-made tool checks. Each answers with the violations, worded for their maker.

- FHIR classes come from `fhir.resources.R4B`: the package's default is R5 (DESIGN §6).
- TLS certificates are always checked, and no error is hidden wholesale.
- `onnxruntime` never stands beside `onnxruntime-gpu`: both write into one folder.
- What the default install brings has a licence from the list; no GPL.
- No file names a package index or a path of somebody's machine: it must work behind any mirror, for everybody.
- Every link and path that a document names leads somewhere.
"""

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from tests.lint.files import ROOT, texts

Rule = Callable[[], Iterable[str]]

LOCKS = ("runtime", "remote", "dev", "peers", "torch", "cuda", "mlserver")

_LICENCES = {
    "0BSD",
    "Apache-2.0",
    "BSD",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "ISC",
    "LGPL-2.1-or-later",  # python-stdnum: as psycopg
    "LGPL-3.0-only",  # psycopg: used as a library, unchanged, replaceable
    "MIT",
    "MIT-0",
    "MIT-CMU",
    "MPL-2.0",  # certifi, pathspec: files of theirs stay as they are
    "PSF-2.0",
    "Zlib",
}
# How those who do not use SPDX's names put it.
_SPELLINGS = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "BSD license": "BSD",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.1-or-later",
    "ISC License": "ISC",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}


_IN_THEIR_FILES = {"fhirpathpy": "MIT"}
"""What a package's licence file says where its metadata says nothing."""


def locked_names(lock: str) -> list[str]:
    """The packages that a lock names."""
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    return re.findall(r"^([a-z0-9][a-z0-9._-]*)==", text, re.MULTILINE)


def _python() -> Iterator[tuple[str, ast.Module]]:
    for name, text in texts():
        if name.endswith(".py"):
            yield name, ast.parse(text, name)


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def fhir_imports_in(name: str, tree: ast.Module) -> Iterator[str]:
    """Imports from `fhir.resources` that are not R4B's."""
    for node in ast.walk(tree):
        for module in _imported(node):
            if re.match(r"fhir\.resources(\.|$)", module) and not module.startswith("fhir.resources.R4B"):
                yield f"{name}:{node.lineno}: {module} is FHIR R5; import fhir.resources.R4B.…"


def fhir_is_r4b() -> Iterator[str]:
    """FHIR classes come from R4B."""
    for name, tree in _python():
        yield from fhir_imports_in(name, tree)


def _swallows_all(handler: ast.ExceptHandler) -> bool:
    catches_all = handler.type is None or ast.unparse(handler.type) in {"Exception", "BaseException"}
    return catches_all and all(isinstance(step, ast.Pass | ast.Continue) for step in handler.body)


def blindness_in(name: str, tree: ast.Module) -> Iterator[str]:
    """Unchecked certificates, and errors hidden wholesale."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in {"verify", "check_hostname"}:
            if isinstance(node.value, ast.Constant) and node.value.value is False:
                yield f"{name}:{node.value.lineno}: {node.arg}=False leaves the peer unverified"
        elif isinstance(node, ast.Attribute) and node.attr in {"CERT_NONE", "_create_unverified_context"}:
            yield f"{name}:{node.lineno}: {node.attr} leaves the peer unverified"
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
            for kind in node.args:
                if ast.unparse(kind) in {"Exception", "BaseException"}:
                    yield f"{name}:{node.lineno}: suppress({ast.unparse(kind)}) hides every error; name the ones meant"
        elif isinstance(node, ast.ExceptHandler) and _swallows_all(node):
            yield f"{name}:{node.lineno}: an error of any kind is swallowed here"


def nothing_is_blind() -> Iterator[str]:
    """Certificates are checked and errors are seen."""
    for name, tree in _python():
        yield from blindness_in(name, tree)


def one_onnxruntime() -> Iterator[str]:
    """Only `onnxruntime-gpu`, in every lock."""
    for lock in LOCKS:
        for name in locked_names(lock):
            if name.startswith("onnxruntime") and name != "onnxruntime-gpu":
                yield f"requirements/{lock}.lock: {name} would overwrite files of onnxruntime-gpu; find what needs it"
    if "onnxruntime-gpu" not in locked_names("runtime"):
        yield "requirements/runtime.lock: onnxruntime-gpu is missing"


def demo_needs_no_torch() -> Iterator[str]:
    """Torch and the CUDA libraries stay out of what everybody installs."""
    for lock in ("runtime", "dev"):
        for name in locked_names(lock):
            if name in {"torch", "triton"} or name.startswith("nvidia-"):
                yield f"requirements/{lock}.lock: {name} belongs to the extra `torch`"


def _licences_of(package: Distribution) -> set[str]:
    metadata = package.metadata
    said = metadata.get("License-Expression") or ""
    if not said:
        classified = [line.split(" :: ")[-1] for line in metadata.get_all("Classifier", []) if "License :: " in line]
        classified = [line for line in classified if line != "OSI Approved"]
        named = " AND ".join(_SPELLINGS.get(c, c) for c in classified) or metadata.get("License")
        said = named or _IN_THEIR_FILES.get(package.name, "none named")
        said = _SPELLINGS.get(said, said)
    return {part.strip("() ") for part in re.split(r"\s+(?:AND|OR)\s+", said)}


def licences() -> Iterator[str]:
    """What the default install brings may be used by everybody who may use kopru."""
    for name in locked_names("runtime"):
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue  # for another platform or Python
        for licence in _licences_of(package) - _LICENCES:
            yield f"{name} {package.version}: licence {licence[:60]!r} is not on the list in tests/lint/rules.py"


_HOSTS = re.compile(
    r"\bhttps?://\S+/(?:simple|packages|pool)/|\"resolved\": *\"http|--(?:extra-)?index-url|--find-links"
)
_MACHINE_PATHS = re.compile(r"(?<![\w.$}])/(?:work|root|Users)/|/home/(?!runner\b)[a-z]\w*/")


def foreign_places_in(name: str, text: str) -> Iterator[str]:
    """Package indexes and paths of a machine."""
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, what in ((_HOSTS, "a package index"), (_MACHINE_PATHS, "a path of one machine")):
            if found := pattern.search(line):
                yield f"{name}:{number}: {found[0]!r} names {what}"


def no_foreign_places() -> Iterator[str]:
    """The project names no package index and no machine."""
    own = ("tests/lint/", "requirements/lock.py")
    for name, text in texts():
        if not name.startswith(own):
            yield from foreign_places_in(name, text)


_LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)(?:#[^)]*)?\)")
_NAMED_PATH = re.compile(
    r"`((?:adapters|anonymize|benchmarks|daemon|docs|pipelines|requirements|runtime|systemd|tests|training)/[\w./-]*)`"
)


def dead_ends_in(name: str, text: str) -> Iterator[str]:
    """Links and paths in a document that lead nowhere."""
    folder = (ROOT / name).parent
    for number, line in enumerate(text.splitlines(), 1):
        for target in _LINK.findall(line):
            if not (folder / target).exists():
                yield f"{name}:{number}: the link to {target} leads nowhere"
        for path in _NAMED_PATH.findall(line):
            if not (ROOT / path).exists():
                yield f"{name}:{number}: there is no {path}"


def documents_lead_somewhere() -> Iterator[str]:
    """Every link and every path in the documents."""
    for name, text in texts():
        if name.endswith(".md"):
            yield from dead_ends_in(name, text)


RULES: tuple[Rule, ...] = (
    fhir_is_r4b,
    nothing_is_blind,
    one_onnxruntime,
    demo_needs_no_torch,
    licences,
    no_foreign_places,
    documents_lead_somewhere,
)
