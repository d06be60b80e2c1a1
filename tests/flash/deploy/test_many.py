"""``fer-edge deploy`` to several devices at once, over a real sshd on each."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fer_flash.deploy.hosts import choose_hosts
from fer_flash.payload.payload_file import PayloadFile
from support.devices.device import MakePayload, why_no_device
from support.devices.fleet import NOWHERE, Fleet, fleet, table_of
from support.devices.target import HOME, SETTINGS
from support.processes.edge_command import assert_one_line, clean_environment, command_line, fer_edge
from support.processes.waiting import wait_for
from support.servers.sshd import needs_sshd

pytestmark = [needs_sshd, pytest.mark.skipif(bool(why_no_device()), reason=str(why_no_device()))]

NAMES = ("kitchen", "hall", "attic")
DONE = ("up to date", "")
MARK = f"{HOME}/shipped/payload"


@pytest.fixture(scope="module")
def many(
    make_payload: MakePayload, default_model: list[PayloadFile], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """Three devices with sshd, still without FER-Edge, and a payload with a secret."""
    secret = PayloadFile("secrets/key.pem", b"a key\n", secret=True)
    payload = make_payload(SETTINGS, *default_model, secret)
    with fleet(NAMES, payload, tmp_path_factory.mktemp("fleet")) as made:
        yield made


@pytest.fixture
def installed(many: Fleet) -> Fleet:
    """The devices after their first payload."""
    done = many.deploy(*NAMES)
    assert done.returncode == 0, done.stdout + done.stderr
    return many


def test_the_hosts_that_fail_do_not_stop_the_others_and_a_repeat_does_the_rest(many: Fleet) -> None:
    listed = many.folder / "hosts.txt"
    listed.write_text(f"attic\n[ground]\nkitchen\n\nhall  # its camera is old\n{NOWHERE[0]}\nkitchen\n")
    refuse = many.devices["hall"].device.path("/run/refuse-start")
    refuse.touch()
    first = many.deploy("--hosts", listed, "--group", "ground", "--jobs", 2)
    refuse.unlink()
    assert_one_line(first, 1, "1 of 3 hosts done, 2 failed; run this again to continue")
    assert first.stdout.startswith("3 hosts, up to 2 at a time; with several, nothing asks for a password")
    table = table_of(first.stdout)
    assert list(table) == ["kitchen", "hall", NOWHERE[0]]
    assert table["kitchen"] == ("installed", "")
    assert table["hall"][0] == table[NOWHERE[0]][0] == "failed"
    assert "failed to start" in table["hall"][1]
    assert table[NOWHERE[0]][1] == "connection refused: the SSH server is not running there"
    assert "\nkitchen: fer-edge install: starting the service\n" in first.stdout
    assert not re.search(r"\n\w+: +model +ok ", first.stdout)
    assert "[3/3] " in first.stdout
    assert {name for name in NAMES if many.devices[name].current} == {"kitchen"}
    before = many.started()
    again = many.deploy("--hosts", listed, "--group", "ground")
    assert_one_line(again, 2, "2 of 3 hosts done, 1 failed")  # the code of the only kind of failure
    table = table_of(again.stdout)
    assert (table["kitchen"], table["hall"]) == (DONE, ("installed", ""))
    assert many.started() == {**before, "hall": many.started()["hall"]}
    for target in (many.devices["kitchen"], many.devices["hall"]):
        assert target.state == "active"
        assert "key.pem" not in target.device.run("find", target.staging, "-type", "f").stdout
        assert target.device.run("stat", "-c", "%U %a", f"{HOME}/shipped").stdout == "root 700\n"


@pytest.mark.slow
def test_a_device_is_up_to_date_only_if_it_has_all_of_the_payload(
    installed: Fleet, make_payload: MakePayload, default_model: list[PayloadFile]
) -> None:
    done = installed.deploy(*NAMES)
    assert (done.returncode, done.stderr, set(table_of(done.stdout).values())) == (0, "", {DONE})
    installed.devices["hall"].device.path("/run/fer-edge.state").write_text("failed\n")
    installed.devices["attic"].device.path(MARK).unlink()  # as in an installation that was cut
    done = installed.deploy(*NAMES)
    assert [row[0] for row in table_of(done.stdout).values()] == ["up to date", "installed", "installed"]
    other = make_payload(SETTINGS, *default_model, PayloadFile("secrets/key.pem", b"another key\n", secret=True))
    shown = installed.deploy(*NAMES, "--dry-run", payload=other)
    assert (shown.returncode, {row[0] for row in table_of(shown.stdout).values()}) == (0, {"checked"})
    assert "hall: secrets: key.pem\n" in shown.stdout
    done = installed.deploy(*NAMES, payload=other)
    assert (done.returncode, set(table_of(done.stdout).values())) == (0, {("installed", "")})
    for target in installed.devices.values():
        assert target.device.path("/etc/fer-edge/key.pem").read_text() == "another key\n"


@pytest.mark.slow
def test_no_host_is_started_after_the_last_failure_that_is_allowed(installed: Fleet) -> None:
    before = installed.started()
    done = installed.deploy(*NOWHERE, *NAMES, "--jobs", 1, "--max-failures", 2, "--replace-config")
    assert_one_line(done, 2, "0 of 5 hosts done, 2 failed, 3 not started; run this again")
    assert "2 failed: no other host is started (--max-failures 2)\n" in done.stdout
    table = table_of(done.stdout)
    assert [table[name] for name in NAMES] == [("not started", "run this again")] * 3
    assert installed.started() == before


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("sudo") is None, reason="needs sudo: apt-get install sudo")
def test_a_password_that_sudo_needs_is_not_asked_for(many: Fleet) -> None:
    allowed = many.devices["attic"].device.path("/etc/sudoers.d/pi")
    rule = allowed.read_text()
    allowed.write_text("# nothing\n")
    done = many.deploy("attic", NOWHERE[0])
    allowed.write_text(rule)
    assert_one_line(done, 2, "0 of 2 hosts done, 2 failed")
    assert "sudo asks for a password there" in table_of(done.stdout)["attic"][1]
    assert "deploy to this host alone, in a terminal" in table_of(done.stdout)["attic"][1]


@pytest.mark.slow
def test_ctrl_c_ends_those_in_work_and_a_repeat_goes_on(
    installed: Fleet, make_payload: MakePayload, default_model: list[PayloadFile]
) -> None:
    payload = make_payload(SETTINGS + "[detector]\nmin_face_px = 70\n", *default_model)
    slow = [installed.devices[name].device.path("/run/slow-start") for name in NAMES[:2]]
    for path in slow:
        path.touch()
    command = command_line(*installed.words(*NAMES, "--jobs", 2, payload=payload))
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(),
        text=True,
        cwd=installed.folder,
    ) as running:
        assert running.stdout is not None and running.stderr is not None
        printed, busy = "", set()
        for line in running.stdout:
            printed += line
            if "starting the service" in line:
                busy.add(line.partition(":")[0])
            if len(busy) == 2:
                break
        assert not any(installed.devices[name].device.path(MARK).exists() for name in busy)
        running.send_signal(signal.SIGINT)
        printed += running.stdout.read()
        said = running.stderr.read()
    assert (running.returncode, said.count("\n")) == (130, 1), said
    assert "interrupted: 0 of 3 hosts done, 2 interrupted, 1 not started; run this again" in said
    table = table_of(printed)
    assert table["attic"] == ("not started", "run this again")
    for name in NAMES[:2]:
        assert table[name] == ("interrupted", "install.sh continues there; run this again to see the result")
    for path in slow:
        path.unlink()
    for name in busy:
        wait_for(installed.devices[name].device.path(MARK).exists)
    done = installed.deploy(*NAMES, payload=payload)
    assert (done.returncode, done.stderr) == (0, "")
    assert [row[0] for row in table_of(done.stdout).values()] == ["up to date", "up to date", "installed"]


@pytest.mark.slow
def test_all_of_them_lose_it(installed: Fleet) -> None:
    done = installed.deploy(*NAMES, "--remove")
    assert (done.returncode, set(table_of(done.stdout).values())) == (0, {("removed", "")}), done.stderr
    assert not any(target.current for target in installed.devices.values())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# none yet\n\n", "hosts.txt: names no host"),
        ("kitchen\n-oProxyCommand=true\n", "hosts.txt: line 2: '-oProxyCommand=true': not a host"),
        ("kitchen hall\n", "hosts.txt: line 1: 'kitchen hall': not a host"),
        ("kitchen\nk\N{LATIN SMALL LETTER U WITH DIAERESIS}che\n".encode("latin-1"), "hosts.txt: not UTF-8"),
        (None, "hosts.txt: cannot be read: No such file"),
        ("[cellar]\n# none yet\n", "hosts.txt: names no host"),
        ("kitchen\n[first floor]\n", "hosts.txt: line 2: '[first floor]': not a group"),
        ("[cellar\nkitchen\n", "hosts.txt: line 1: '[cellar': not a group"),
    ],
)
def test_a_file_of_hosts_that_cannot_be_used_is_one_line(tmp_path: Path, text: str | bytes | None, said: str) -> None:
    if text is not None:
        (tmp_path / "hosts.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert_one_line(fer_edge("deploy", "--yes", "--hosts", "hosts.txt", cwd=tmp_path), 2, said)


LISTED = "gate\n[ground]\nkitchen # old\nhall\n[empty]\n[cameras]\nhall\nboiler\n[ground]\nporch\n"


@pytest.mark.parametrize(
    ("given", "groups", "chosen"),
    [
        ([], [], ["gate", "kitchen", "hall", "porch", "boiler"]),
        ([], ["ground"], ["kitchen", "hall", "porch"]),
        ([], ["cameras", "ground"], ["hall", "boiler", "kitchen", "porch"]),
        (["attic", "boiler"], ["cameras"], ["attic", "boiler", "hall"]),
    ],
)
def test_groups_of_the_file_are_selected_by_name(
    tmp_path: Path, given: list[str], groups: list[str], chosen: list[str]
) -> None:
    (listed := tmp_path / "hosts.txt").write_text(LISTED)
    assert choose_hosts(given, listed, groups) == chosen


def test_groups_without_a_file_are_those_of_the_users(tmp_path: Path) -> None:
    settings = {"XDG_CONFIG_HOME": str(tmp_path)}
    words = ["deploy", "--yes", "--payload", "nothing", "--group"]
    missing = fer_edge(*words, "ground", cwd=tmp_path, settings=settings)
    assert_one_line(missing, 2, f"{tmp_path}/fer-edge/hosts.txt: cannot be read: No such file")
    (tmp_path / "fer-edge").mkdir()
    (tmp_path / "fer-edge" / "hosts.txt").write_text(LISTED)
    assert_one_line(fer_edge(*words, "ground", cwd=tmp_path, settings=settings), 2, "nothing: not a readable payload")
    unknown = fer_edge(*words, "attic", cwd=tmp_path, settings=settings)
    assert_one_line(unknown, 2, "hosts.txt: has no group 'attic'; its groups: ground, empty, cameras")
    empty = fer_edge(*words, "ground", "--group", "empty", cwd=tmp_path, settings=settings)
    assert_one_line(empty, 2, "hosts.txt: the group empty names no host")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--yes"], "no host: give USER@HOST, or --hosts FILE"),
        (["kitchen", "hall"], "add --yes to confirm"),
        (["kitchen", "hall", "--yes", "--payload", "nothing"], "nothing: not a readable payload"),
        (["kitchen", "hall", "--yes", "--settings", "nothing.toml"], "nothing.toml: "),
        (["kitchen", "hall", "--yes", "--jobs", "0"], "--jobs: must be a whole number above 0"),
    ],
)
def test_what_is_wrong_for_every_host_is_refused_before_the_first(tmp_path: Path, words: list[str], said: str) -> None:
    done = fer_edge("deploy", *words, cwd=tmp_path)
    assert_one_line(done, 2, said)
    assert done.stdout == ""
