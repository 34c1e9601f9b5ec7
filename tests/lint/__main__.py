"""``python -m tests.lint``: run all checks, or those named, and say what is wrong."""

import sys

from tests.lint.checks import TOOLS, run_tool
from tests.lint.rules import RULES


def main(wanted: list[str]) -> int:
    failed = False
    for name in TOOLS:
        if wanted and name not in wanted:
            continue
        done = run_tool(name)
        failed |= done.returncode != 0
        print(f"{name}: {'ok' if done.returncode == 0 else 'FAILED'}", flush=True)
        if done.returncode != 0:
            print(done.stdout)
    for rule in RULES:
        if wanted and rule.__name__ not in wanted:
            continue
        violations = list(rule())
        failed |= bool(violations)
        print(f"{rule.__name__}: {'FAILED' if violations else 'ok'}", *violations, sep="\n    ", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
