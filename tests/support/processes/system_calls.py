"""The effects of a process on files and network, from its system calls: run strace and parse its output."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pytest

_CALLS = (
    *("%file", "%network", "write", "writev", "pwrite64", "pwritev", "?pwritev2", "sendfile", "?copy_file_range"),
    *("?splice", "?vmsplice", "mmap", "?memfd_create", "?io_uring_setup", "?process_vm_writev", "?shmget", "?ptrace"),
)
"""Every call that could let a picture out. ``?``: only if the system has that call."""

_WRITES = {"write", "writev", "pwrite64", "pwritev", "pwritev2", "send", "sendto", "sendmsg", "sendfile", "vmsplice"}
"""Calls whose first argument is the destination of bytes, and whose result is their number."""
_COPIES = {"copy_file_range": 2, "splice": 2}
"""The same for calls with the destination in another argument."""
_CHANGES = {
    *("rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat", "mknod", "mknodat"),
    *("link", "linkat", "symlink", "symlinkat", "truncate", "chmod", "fchmodat", "fchmodat2", "chown", "lchown"),
    *("fchownat", "utime", "utimes", "utimensat", "futimesat", "setxattr", "lsetxattr", "mount", "umount2"),
}
_EVASIONS = {"memfd_create", "io_uring_setup", "process_vm_writev", "shmget", "ptrace"}
"""Calls that would bypass these checks: none may occur."""
_OPENING, _CLOSING = "([{", ")]}"


@dataclass(frozen=True, slots=True)
class SystemCall:
    """One call as strace writes it: ``arguments`` and ``result`` are text."""

    name: str
    arguments: tuple[str, ...]
    result: str


@dataclass(frozen=True, slots=True)
class Footprint:
    """The effects of a process.

    ``paths`` were opened for writing, created, renamed, removed or mapped for writing; ``addresses`` connected to,
    sent to or bound, such as ``127.0.0.1:1883``; ``written`` has the number of bytes by destination: a path, or
    strace's name of a socket or pipe. ``evasions`` are calls that could bypass all of that.
    """

    paths: frozenset[str] = frozenset()
    addresses: frozenset[str] = frozenset()
    written: Mapping[str, int] = field(default_factory=dict)
    evasions: frozenset[str] = frozenset()


@functools.cache
def why_no_strace() -> str | None:
    """Return why no process can be traced here; None if one can."""
    if shutil.which("strace") is None:
        return "needs strace: apt-get install strace"
    tried = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"strace may not trace here: {tried.stderr.strip()[:200]}"


def traced(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    meanwhile: Callable[[], None] = lambda: None,
) -> Footprint:
    """Run ``command`` in ``folder``, and call ``meanwhile`` once; return the system calls of it and its children."""
    reason = why_no_strace()
    if reason is not None:
        pytest.skip(reason)
    log = folder.parent / f"{folder.name}.strace"
    strace = ["strace", "-f", "-yy", "-qq", "-s", "0", "-o", str(log), "-e", f"trace={','.join(_CALLS)}", "--"]
    with subprocess.Popen(
        [*strace, *command],
        cwd=folder,
        # Python would write .pyc files next to the modules, as for any program.
        env={**environment, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            meanwhile()
            _, errors = process.communicate(timeout=180)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    return footprint(parse(log.read_text(errors="surrogateescape").splitlines()), folder)


def footprint(calls: Iterable[SystemCall], folder: Path) -> Footprint:
    """Return the effects of ``calls`` of a process that began in ``folder``; of failed ones, only connecting counts."""
    paths: set[str] = set()
    addresses: set[str] = set()
    evasions: set[str] = set()
    written: dict[str, int] = {}
    for call in calls:
        if call.name in ("connect", "bind", "sendto", "sendmsg", "sendmmsg"):
            addresses.update(_addresses(call))
        if call.result.startswith(("-1", "?")):
            continue
        if call.name in _EVASIONS:
            evasions.add(call.name)
        elif call.name in _CHANGES:
            paths.update(_named_paths(call, folder))
        elif (call.name in ("open", "openat", "openat2") and _for_writing(call)) or call.name == "creat":
            paths.add(_annotation(call.result) or "?")
        elif call.name == "mmap" and _shared_for_writing(call):
            paths.add(_annotation(call.arguments[4]) or "?")
        for target, count in _bytes(call):
            written[target] = written.get(target, 0) + count
    return Footprint(frozenset(paths), frozenset(addresses), written, frozenset(evasions))


def parse(lines: Iterable[str]) -> Iterator[SystemCall]:
    """Return the calls in the lines of ``strace -f``; the parts of an interrupted one are joined."""
    begun: dict[str, str] = {}
    for line in lines:
        pid, _, rest = line.partition(" ")
        rest = rest.strip()
        if rest.startswith(("---", "+++")):  # a signal or an exit
            continue
        resumed = re.match(r"<\.\.\. \w+ resumed>", rest)
        if resumed is not None:
            rest = begun.pop(pid, "") + rest[resumed.end() :]
        if rest.endswith("<unfinished ...>"):
            begun[pid] = rest.removesuffix("<unfinished ...>").rstrip()
            continue
        yield parse_call(rest)


def parse_call(text: str) -> SystemCall:
    """Parse ``name(argument, …) = result``. Raises ValueError for anything else."""
    name, bracket, rest = text.partition("(")
    if not bracket or not name.isidentifier():
        raise ValueError(f"no system call: {text!r}")
    arguments, end = _split(rest)
    equals = re.match(r"\s*=\s*(.*)", rest[end:])
    if equals is None:
        raise ValueError(f"a system call without a result: {text!r}")
    return SystemCall(name, arguments, equals.group(1))


def _split(text: str) -> tuple[tuple[str, ...], int]:
    """Return the arguments before the closing bracket of the call, and the position after it."""
    arguments, begin, depth, place = [], 0, 0, 0
    while place < len(text):
        character = text[place]
        if character == '"':
            place = _end_of_string(text, place)
            continue
        if character == "<" and place > begin:  # an annotation belongs to the text before it
            place = _end_of_annotation(text, place)
            continue
        if character == ")" and depth == 0:
            last = text[begin:place].strip()
            return tuple(arguments + ([last] if last or arguments else [])), place + 1
        if character == "," and depth == 0:
            arguments.append(text[begin:place].strip())
            begin = place + 1
        depth += (character in _OPENING) - (character in _CLOSING)
        place += 1
    raise ValueError(f"a system call that does not end: {text!r}")


def _end_of_string(text: str, place: int) -> int:
    match = re.compile(r'"(?:[^"\\]|\\.)*"').match(text, place)
    if match is None:
        raise ValueError(f"a string that does not end: {text!r}")
    return match.end()


def _end_of_annotation(text: str, place: int) -> int:
    """Return the position after ``<…>``: a path, in which strace writes < and > as numbers, or a socket, ``[a->b]``."""
    arrows = not text.startswith("</", place)
    depth = 0
    while place < len(text):
        if text[place] == "<":
            depth += 1
        elif text[place] == ">" and not (arrows and text[place - 1] == "-"):
            depth -= 1
            if depth == 0:
                return place + 1
        place += 1
    raise ValueError(f"an annotation that does not end: {text!r}")


def _annotation(text: str) -> str | None:
    """Return ``/dev/null`` of ``3</dev/null<char 1:3>>``; None if it has no path."""
    match = re.match(r"\w+<", text)
    if match is None:
        return None
    end = _end_of_annotation(text, match.end() - 1)
    return _unescaped(re.sub(r"<(?:char|block) [\d:]+>$", "", text[match.end() : end - 1]))


def _unescaped(text: str) -> str:
    """Return the text without C's escapes, one character for each escaped byte."""
    names = {"n": "\n", "t": "\t", "r": "\r", "v": "\v", "f": "\f"}
    pattern = re.compile(r"\\(?:x([0-9a-fA-F]{2})|([0-7]{1,3})|(.))")

    def character(match: re.Match[str]) -> str:
        hexadecimal, octal, other = match.groups()
        if other is not None:
            return names.get(other, other)
        return chr(int(hexadecimal, 16) if hexadecimal else int(octal, 8))

    return pattern.sub(character, text)


def _strings(text: str) -> list[str]:
    return [_unescaped(match) for match in re.findall(r'"((?:[^"\\]|\\.)*)"', text)]


def _for_writing(call: SystemCall) -> bool:
    flags = " ".join(argument for argument in call.arguments if "O_" in argument and not argument.startswith('"'))
    return re.search(r"\bO_(WRONLY|RDWR|CREAT|TRUNC|APPEND|TMPFILE)\b", flags) is not None


def _shared_for_writing(call: SystemCall) -> bool:
    _, _, protection, flags, descriptor, *_ = call.arguments
    return "PROT_WRITE" in protection and "MAP_SHARED" in flags and "<" in descriptor


def _named_paths(call: SystemCall, folder: Path) -> Iterator[str]:
    """Return all paths in the arguments, absolute; a path is relative to the descriptor before it, if any."""
    base = str(folder)
    for argument in call.arguments:
        base = _annotation(argument) or base
        if argument.startswith('"'):
            yield str(PurePosixPath(base) / _strings(argument)[0])
            base = str(folder)


def _addresses(call: SystemCall) -> Iterator[str]:
    text = ", ".join(call.arguments)
    for family in re.findall(r"sa_family=(AF_\w+)", text):
        if family not in ("AF_INET", "AF_INET6", "AF_UNIX"):
            yield family
    for port, host in re.findall(r'sin_port=htons\((\d+)\), sin_addr=inet_addr\("([\d.]+)"\)', text):
        yield f"{host}:{port}"
    for port, host in re.findall(r'sin6_port=htons\((\d+)\).*?inet_pton\(AF_INET6, "([^"]+)"', text):
        yield f"[{host}]:{port}"
    for path in re.findall(r'sun_path=@?"((?:[^"\\]|\\.)*)"', text):
        yield _unescaped(path)


def _bytes(call: SystemCall) -> Iterator[tuple[str, int]]:
    if call.name == "sendmmsg":
        yield _annotation(call.arguments[0]) or "?", sum(map(int, re.findall(r"msg_len=(\d+)", call.arguments[1])))
    elif call.name in _WRITES or call.name in _COPIES:
        target = call.arguments[_COPIES.get(call.name, 0)]
        yield _annotation(target) or "?", int(call.result.split()[0])
