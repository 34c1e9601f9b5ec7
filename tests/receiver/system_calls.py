"""Reads a trace of strace and proves from it that each acknowledged instance was durable before the answer was written.

For every success response to a C-STORE, the thread that writes it must have done, in this order and since its last
response: fsync the object's file, rename it to its final name, fsync the folder of that name; each call must have
succeeded. And a folder that was made must have been fsynced into its parent before.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

STRACE = [
    "strace", "-f", "-y", "-xx", "-s", "400", "-e", "signal=none",
    "-e", "trace=openat,mkdir,mkdirat,write,pwrite64,sendto,fsync,fdatasync,rename,renameat,renameat2",
]  # fmt: skip

_LINE = re.compile(r"(?P<thread>\d+)\s+(?P<rest>.*)")
_CALL = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)\)\s+= (?P<result>-?\d+)(?:<[^>]*>)?(?: .*)?$")
_PATH = re.compile(r"^\d+<(?P<path>[^>]*)>")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')

_C_STORE_RSP = bytes.fromhex("00000001020000000180")  # (0000,0100) US 0x8001
_SUCCESS = bytes.fromhex("00000009020000000000")  # (0000,0900) US 0x0000
_INSTANCE = bytes.fromhex("00000010")  # (0000,1000)


class NotDurable(AssertionError):
    """A success was written before the instance was safe."""


@dataclass(frozen=True)
class Call:
    """One finished system call. Strings are decoded; `path` is that of the descriptor in the first argument."""

    thread: int
    name: str
    path: str
    strings: tuple[bytes, ...]
    result: int


def calls(trace: str) -> Iterator[Call]:
    """The calls in the order in which they ended."""
    begun: dict[int, str] = {}
    for raw in trace.splitlines():
        if (line := _LINE.match(raw)) is None:
            continue
        thread, text = int(line["thread"]), line["rest"]
        if text.endswith("<unfinished ...>"):
            begun[thread] = text.removesuffix("<unfinished ...>").rstrip()
            continue
        if resumed := re.match(r"<\.\.\. \w+ resumed>(.*)", text):
            text = begun.pop(thread) + resumed[1]
        if call := _CALL.match(text):
            descriptor = _PATH.match(call["arguments"])
            yield Call(
                thread,
                call["name"],
                _decoded(descriptor["path"]).decode() if descriptor else "",
                tuple(_decoded(string) for string in _STRING.findall(call["arguments"])),
                int(call["result"]),
            )


def _decoded(escaped: str) -> bytes:
    return re.sub(rb"\\x([0-9a-f]{2})", lambda m: bytes([int(m[1], 16)]), escaped.encode())


def acknowledged(call: Call) -> str | None:
    """The SOP Instance UID that this call acknowledges to a peer, if it does."""
    if call.name not in ("sendto", "write") or not call.strings or not call.path.startswith("socket:"):
        return None
    data = call.strings[0]
    if _C_STORE_RSP not in data or _SUCCESS not in data:
        return None
    position = data.index(_INSTANCE)
    length = int.from_bytes(data[position + 4 : position + 8], "little")
    return data[position + 8 : position + 8 + length].rstrip(b"\0").decode()


def prove_durable(trace: str, store: Path) -> list[str]:
    """The SOP Instance UIDs that were acknowledged, each proven; raises `NotDurable`."""
    proven: list[str] = []
    since_answer: dict[int, list[Call]] = defaultdict(list)
    unsafe_folders: set[str] = set()
    for call in calls(trace):
        if call.name in ("mkdir", "mkdirat") and call.result == 0:
            made = Path(call.strings[0].decode())
            if made.is_relative_to(store):
                unsafe_folders.add(str(made))
        if call.name == "fsync" and call.result == 0:
            unsafe_folders = {folder for folder in unsafe_folders if str(Path(folder).parent) != call.path}
        instance = acknowledged(call)
        if instance is None:
            since_answer[call.thread].append(call)
            continue
        final = _prove(since_answer.pop(call.thread, []), instance)
        if unsafe := [folder for folder in unsafe_folders if final.is_relative_to(folder)]:
            raise NotDurable(f"{instance}: {unsafe[0]} was not fsynced into its parent")
        proven.append(instance)
    return proven


def _prove(history: list[Call], instance: str) -> Path:
    """The object's final name."""
    synced_files: set[str] = set()
    final: Path | None = None
    for call in history:
        if call.result != 0:
            continue
        if call.name in ("fsync", "fdatasync"):
            if final is not None and call.path == str(final.parent):
                return final
            synced_files.add(call.path)
        elif call.name.startswith("rename"):
            source, target = (name.decode() for name in call.strings[-2:])
            if source not in synced_files:
                raise NotDurable(f"{instance}: {source} got its final name before it was fsynced")
            final = Path(target)
    if final is None:
        raise NotDurable(f"{instance}: no object got a final name before the answer")
    raise NotDurable(f"{instance}: the folder of {final} was not fsynced before the answer")
