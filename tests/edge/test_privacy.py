"""No picture leaves the program unless a setting names it: shown by the program's system calls."""

from __future__ import annotations

import re
import shutil
import socket
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.processes.edge_command import clean_environment, command_line, fer_edge, lines_of
from support.processes.system_calls import Footprint, SystemCall, footprint, parse, parse_call, traced
from support.servers.loopback import free_port, port_of

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
FRAME_BYTES = 640 * 480
"""One frame of the demo scene; its faces, as the classifier sees them, have 2,304 bytes each."""
EVENT_BYTES = 1024
"""Maximum bytes for an event, on the console and in a file together."""
FIXED_BYTES = 8192
"""Max. bytes that a run may write in addition: its statistics and the summary on the console."""
STATES_BYTES = 8192
"""Max. bytes of state and discovery messages to the broker in these few seconds."""
INTERNAL = re.compile(r"/dev/null|anon_inode:\[event(fd|poll)\]")
"""Descriptors that lead nowhere, or pass a number from one thread to another."""


def broken_rules(
    seen: Footprint,
    folder: Path,
    files: Sequence[str],
    events: int,
    addresses: Sequence[str] = (),
    more_bytes: int = 0,
) -> list[str]:
    """Return the effects in ``seen`` that are forbidden in a run that writes ``files`` (patterns in ``folder``)."""
    allowed = re.compile("|".join(f"{re.escape(str(folder))}/(?:{name})" for name in files) or "(?!)")
    found = [f"writes to {path}" for path in seen.paths if not (allowed.fullmatch(path) or INTERNAL.fullmatch(path))]
    found += [f"talks with {address}" for address in seen.addresses if address not in addresses]
    found += [f"calls {name}" for name in seen.evasions]
    written = {target: count for target, count in seen.written.items() if not INTERNAL.fullmatch(target)}
    if sum(written.values()) > FIXED_BYTES + more_bytes + events * EVENT_BYTES:
        found.append(f"writes {written} bytes in {events} events")
    return sorted(found)


def run_demo(
    folder: Path,
    *more: object,
    toml: str = "",
    meanwhile: Callable[[], None] = lambda: None,
    settings: Mapping[str, str] | None = None,
) -> tuple[Footprint, int]:
    """Return the effects of three seconds of the demo scene, in which a face appears, and the number of its events.

    The model was tried before, unless ``settings``, variables of the environment, name another cache folder.
    """
    folder.mkdir()
    assert fer_edge("run", "demo", "--max-frames", 1, cwd=folder).returncode == 0
    (folder / "c.toml").write_text(toml)
    outputs = ("--config", "c.toml", "--events", "e.jsonl", "--stats", "s.json")
    command = command_line("run", "demo", "--realtime", "--duration", 3, *outputs, *more)
    seen = traced(command, folder, {**clean_environment(), **(settings or {})}, meanwhile)
    return seen, len(lines_of(folder / "e.jsonl"))


OUTPUTS = (r"e\.jsonl", r"s\.json", r"\.s\.json\.[0-9a-f]{8}\.tmp\.json")


@pytest.mark.slow
def test_a_run_touches_what_its_settings_name_and_nothing_else(tmp_path: Path) -> None:
    seen, events = run_demo(tmp_path / "run")
    assert events >= 2
    assert broken_rules(seen, tmp_path / "run", OUTPUTS, events) == []
    # Every entry of the list is used, which also shows that the trace is not empty.
    assert {str(tmp_path / "run" / name) for name in ("e.jsonl", "s.json")} <= seen.paths
    assert seen.written[str(tmp_path / "run" / "e.jsonl")] == (tmp_path / "run" / "e.jsonl").stat().st_size
    assert seen.addresses == frozenset()
    assert FIXED_BYTES + 10 * EVENT_BYTES < FRAME_BYTES / 10


@pytest.mark.slow
def test_the_first_run_also_notes_in_the_cache_that_the_model_was_tried(tmp_path: Path) -> None:
    cache = tmp_path / "run" / "cache"
    seen, events = run_demo(tmp_path / "run", settings={"XDG_CACHE_HOME": str(cache)})
    # The trial's process reports through a pipe, and sets itself to be killed first if memory runs out.
    internal = re.compile(r"pipe:\[\d+\]|/proc/(self|\d+)/oom_score_adj")
    paths = frozenset(path for path in seen.paths if not internal.fullmatch(path))
    written = {target: count for target, count in seen.written.items() if not internal.fullmatch(target)}
    noted = (r"cache", r"cache/fer-edge", r"cache/fer-edge/tried-models", r"cache/fer-edge/tried-models/[0-9a-z_.-]+")
    rest = Footprint(paths, seen.addresses, written, seen.evasions)
    assert broken_rules(rest, tmp_path / "run", (*OUTPUTS, *noted), events) == []
    assert [path.stat().st_size for path in cache.rglob("*") if path.is_file()] == [
        0,
        0,
    ]  # the classifier and the face check


@pytest.mark.slow
@pytest.mark.skipif(
    None in (MOSQUITTO, find_spec("paho"), find_spec("waitress")), reason="needs mosquitto and the extras mqtt and web"
)
def test_broker_and_page_get_events_and_states_and_no_picture(tmp_path: Path) -> None:
    from support.servers.mosquitto import Broker

    broker, page = Broker(tmp_path), unused_port()
    broker.start()
    try:
        toml = f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n[web]\nenabled = true\nport = {page}\n'
        seen, events = run_demo(tmp_path / "run", toml=toml)
    finally:
        broker.stop()
    # paho binds its end of the connection to 0.0.0.0:0, and wakes its network thread through a pair of sockets
    # on loopback, one byte at a time.
    addresses = [f"127.0.0.1:{broker.port}", f"127.0.0.1:{page}", "0.0.0.0:0", "127.0.0.1:0"]
    (wake,) = seen.addresses - set(addresses)
    assert re.fullmatch(r"127\.0\.0\.1:\d+", wake)
    assert 0 < sum(count for target, count in to_the_network(seen).items() if f"[{wake}->" in target) < 1000
    addresses.append(wake)
    assert broken_rules(seen, tmp_path / "run", OUTPUTS, events, addresses, more_bytes=STATES_BYTES) == []
    assert seen.addresses == set(addresses)
    assert sum(to_the_network(seen).values()) > 1000  # they did receive something
    assert FIXED_BYTES + STATES_BYTES + 10 * EVENT_BYTES < FRAME_BYTES / 10


@pytest.mark.slow
@pytest.mark.skipif(find_spec("waitress") is None, reason="needs the extra web")
def test_a_recording_and_a_preview_would_be_seen(tmp_path: Path) -> None:
    page = unused_port()
    toml = f"[web]\nenabled = true\npreview = true\nport = {page}\n"
    pictures: list[bytes] = []
    seen, events = run_demo(
        *(tmp_path / "run", "--annotate", "a.webm"),
        toml=toml,
        meanwhile=lambda: pictures.append(ask(f"http://127.0.0.1:{page}/preview/demo.jpg")),
    )
    found = broken_rules(seen, tmp_path / "run", OUTPUTS, events)
    assert any("a.webm" in rule for rule in found) and f"talks with 127.0.0.1:{page}" in found
    # Also at an allowed place, the number of bytes reveals it, in a file and on the network.
    both = dict(seen.written)
    for written in (to_the_network(seen), {path: count for path, count in both.items() if "a.webm" in path}):
        (rule,) = broken_rules(Footprint(written=written), tmp_path / "run", OUTPUTS, events)
        assert f"bytes in {events} events" in rule
    assert pictures[0].startswith(b"\xff\xd8") and len(pictures[0]) > FIXED_BYTES


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return port_of(listener)


def to_the_network(seen: Footprint) -> dict[str, int]:
    return {target: count for target, count in seen.written.items() if target.startswith(("TCP", "UDP"))}


def ask(url: str) -> bytes:
    """Return the answer once the program has started and has a picture."""
    until = time.monotonic() + 60
    while True:
        with suppress(OSError), urllib.request.urlopen(url, timeout=60) as answer:
            if data := bytes(answer.read()):
                return data
        assert time.monotonic() < until, url
        time.sleep(0.1)


# Parsing strace's output


TRACE = """\
6856  openat(AT_FDCWD</tmp/x>, "e.jsonl", O_WRONLY|O_CREAT|O_APPEND|O_CLOEXEC, 0666) = 3</tmp/x/e.jsonl>
6856  openat(AT_FDCWD</tmp/x>, "/etc/passwd", O_RDONLY|O_CLOEXEC) = 4</etc/passwd>
6856  openat(AT_FDCWD</tmp/x>, "/root/x", O_WRONLY|O_CREAT, 0666) = -1 EACCES (Permission denied)
6857  write(3</tmp/x/e.jsonl>, ""..., 169 <unfinished ...>
6856  openat(AT_FDCWD</tmp/x>, "/dev/null", O_RDWR|O_CLOEXEC) = 4</dev/null<char 1:3>>
6857  <... write resumed>)              = 169
6857  writev(1<pipe:[123]>, [{iov_base=""..., iov_len=3}, {iov_base=")", iov_len=4}], 2) = 7
6856  rename("a b", "/tmp/y/\\303\\244") = 0
6856  unlinkat(5</tmp/x/sub>, "c", 0) = 0
6856  mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 3</tmp/x/shared>, 0) = 0x7f0000000000
6856  mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f0000000000
6858  connect(7<TCP:[88]>, {sa_family=AF_INET, sin_port=htons(1883), sin_addr=inet_addr("10.0.0.2")}, 16) = -1
6858  sendto(7<TCP:[127.0.0.1:3->10.0.0.2:1883]>, ""..., 20, 0, NULL, 0) = 20
6858  bind(8<TCPv6:[9]>, {sa_family=AF_INET6, sin6_port=htons(80), sin6_flowinfo=htonl(0), \
inet_pton(AF_INET6, "::1", &sin6_addr), sin6_scope_id=0}, 28) = 0
6858  connect(9<UNIX-STREAM:[3]>, {sa_family=AF_UNIX, sun_path="/run/x"}, 110) = 0
6858  sendmmsg(9<UDP:[4]>, [{msg_hdr={msg_name=NULL}, msg_len=30}, {msg_hdr={}, msg_len=12}], 2, 0) = 2
6858  memfd_create("x", 0) = 10</memfd:x>
6856  --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED} ---
6857  +++ exited with 0 +++
"""


def test_a_trace_is_read() -> None:
    assert footprint(parse(TRACE.splitlines()), Path("/tmp/x")) == Footprint(
        paths=frozenset(*[["/tmp/x/e.jsonl", "/dev/null", "/tmp/x/a b", "/tmp/y/Ã¤", "/tmp/x/sub/c", "/tmp/x/shared"]]),
        addresses=frozenset({"10.0.0.2:1883", "[::1]:80", "/run/x"}),
        written={"/tmp/x/e.jsonl": 169, "pipe:[123]": 7, "TCP:[127.0.0.1:3->10.0.0.2:1883]": 20, "UDP:[4]": 42},
        evasions=frozenset({"memfd_create"}),
    )


def quoted(text: str) -> str:
    """Return a string as strace writes it, with octal escapes."""
    return (
        '"'
        + "".join(c if c.isalnum() or c in " /.,(){}[]<>=" else f"\\{b:03o}" for c in text for b in c.encode())
        + '"'
    )


PLAIN = st.text(alphabet="abcXYZ0123/._-", min_size=1, max_size=8)
NUMBERS = st.integers(-1, 10**6).map(str)
ANNOTATED = st.tuples(st.integers(0, 99), PLAIN).map(lambda pair: f"{pair[0]}</{pair[1]}>")
SOCKETS = st.integers(0, 99).map(lambda number: f"{number}<TCP:[127.0.0.1:{number}->10.0.0.1:80]>")
STRINGS = st.text(alphabet=st.characters(max_codepoint=127), max_size=8).map(quoted)
ARGUMENTS = st.one_of(
    *(NUMBERS, ANNOTATED, SOCKETS, STRINGS),
    st.lists(STRINGS | NUMBERS, min_size=1, max_size=3).map(lambda parts: "{" + ", ".join(parts) + "}"),
    st.lists(ANNOTATED | NUMBERS, min_size=1, max_size=3).map(lambda parts: "[" + ", ".join(parts) + "]"),
)
CALLS = st.builds(
    SystemCall,
    st.sampled_from(["openat", "write", "connect", "mmap"]),
    st.lists(ARGUMENTS, max_size=3).map(tuple),
    NUMBERS | ANNOTATED,
)


@given(call=CALLS)
def test_a_call_is_read_as_it_was_written(call: SystemCall) -> None:
    assert parse_call(f"{call.name}({', '.join(call.arguments)}) = {call.result}") == call


@given(calls=st.lists(st.tuples(st.integers(1, 3), CALLS), max_size=5), data=st.data())
def test_calls_of_several_threads_are_put_together(calls: list[tuple[int, SystemCall]], data: st.DataObject) -> None:
    """A call may be interrupted by other threads' calls, and is completed later or at the end."""
    lines: list[str] = []
    waiting: dict[int, str] = {}

    def end(pid: int) -> None:
        if pid in waiting:
            lines.append(waiting.pop(pid))

    for pid, call in calls:
        end(pid)
        arguments = ", ".join(call.arguments)
        if call.arguments and data.draw(st.booleans()):
            lines.append(f"{pid}  {call.name}({arguments} <unfinished ...>")
            waiting[pid] = f"{pid}  <... {call.name} resumed>)        = {call.result}"
        else:
            lines.append(f"{pid}  {call.name}({arguments}) = {call.result}")
    for pid in list(waiting):
        end(pid)
    assert sorted(map(repr, parse(lines))) == sorted(repr(call) for _, call in calls)


@given(text=st.text())
def test_what_is_no_call_is_refused(text: str) -> None:
    try:
        parse_call(text)
    except ValueError:
        return
    assert "(" in text and "=" in text


def test_a_call_that_fails_is_no_way_out_but_trying_to_connect_is() -> None:
    port = free_port()
    refused = SystemCall(
        "connect",
        ("3<TCP:[1]>", f'{{sa_family=AF_INET, sin_port=htons({port}), sin_addr=inet_addr("127.0.0.1")}}', "16"),
        "-1 ECONNREFUSED (Connection refused)",
    )
    assert footprint([refused], Path("/")).addresses == {f"127.0.0.1:{port}"}
