"""A Raspberry Pi's root folder in which the first-boot scripts run; its commands record their calls."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from fer_flash.first_boot.plan import first_boot_files
from fer_flash.image.stock_system import Style
from fer_flash.settings.pi_config import PiConfig
from support.cards.pi_settings import CMDLINE, FolderVolume, system_of

SHELLS = ("dash", "bash")
INSTALL = '#!/bin/sh\nprintf "%s\\0" install.sh "$@" "" >>"$CALLS"\nexit "${INSTALL_RC:-0}"\n'
SETUP = "fer-edge/first-boot/setup.sh"
STATE = "var/lib/fer-edge-first-boot"

COMMANDS = ("systemctl", "raspi-config", "rfkill", "usermod", "groupmod", "useradd", "chown")
IMAGER = "usr/lib/raspberrypi-sys-mods/imager_custom"
USERCONF = "usr/lib/userconf-pi/userconf"

_PROGRAMS = """
cat cp chmod cmp cut dd dirname grep head install ln mkdir mv printf rm sed sh sleep tail tee tr wc
""".split()  # noqa: SIM905 — as a list, each word would take a line

# A call is recorded as its name and arguments, each with a NUL after it, and one more NUL.
_NOTE = '#!/bin/sh\n{ printf \'%s\\0\' "${0##*/}" "$@"; printf \'\\0\'; } >>"$CALLS"\n'
_CHPASSWD = _NOTE + 'cat >>"$CALLS.stdin"\n'
_GETENT = """#!/bin/sh
case "$1 $2" in
  "passwd 1000") echo "pi:x:1000:1000::/home/pi:/bin/bash" ;;
  "passwd $USER_NAME") echo "$USER_NAME:x:1000:1000::/home/$USER_NAME:/bin/bash" ;;
  "group gpio") exit 2 ;;
esac
"""
# The power fails at call number $CUT: all processes of the script end at once. Writes are kept, as on a medium
# without a cache. It does not sync, which would take long.
_SYNC = """#!/bin/sh
count=$(($(cat "$CALLS.syncs" 2>/dev/null || echo 0) + 1))
echo "$count" >"$CALLS.syncs"
[ "$count" != "${CUT:-}" ] || kill -s KILL -- "-$GROUP"
"""


@dataclass
class Sandbox:
    """``root`` is the Pi's root folder, with its boot partition at ``boot``."""

    folder: Path
    shell: str = "dash"
    with_helpers: bool = True

    def __post_init__(self) -> None:
        self.root = self.folder / "pi"
        self.boot = self.root / "boot" / "firmware"
        self.boot.mkdir(parents=True)
        for path, text in {"etc/hostname": "raspberrypi\n", "etc/hosts": "127.0.1.1\traspberrypi\n"}.items():
            self.write(path, text)
        self.write("etc/locale.gen", "# en_GB.UTF-8 UTF-8\n# de_DE.UTF-8 UTF-8\n")
        bin_folder = self.folder / "bin"
        programs = dict.fromkeys(COMMANDS, _NOTE)
        programs |= {"chpasswd": _CHPASSWD, "getent": _GETENT, "sync": _SYNC}
        if not self.with_helpers:
            del programs["raspi-config"], programs["rfkill"]
            programs |= {"locale-gen": _NOTE, "update-locale": _NOTE}
        for name, text in programs.items():
            _program(bin_folder / name, text)
        if self.with_helpers:
            _program(self.root / IMAGER, _NOTE)
            _program(self.root / USERCONF, _NOTE)
        # Only the programs that the scripts need, so that nothing depends on others of this system.
        for name in _PROGRAMS:
            found = shutil.which(name)
            assert found, name
            if not (bin_folder / name).exists():
                (bin_folder / name).symlink_to(found)

    def write(self, path: str, content: str | bytes, mode: int = 0o644) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        target.chmod(mode)
        return target

    def run(
        self, script: Path, *arguments: str, user: str = "ada", cut: int | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a script to its end, or until it writes to the medium for the ``cut``-th time."""
        (self.folder / "calls.syncs").unlink(missing_ok=True)
        shell = shutil.which(self.shell)
        assert shell
        environment = {
            "PATH": str(self.folder / "bin"),
            "ROOT": str(self.root),
            "CALLS": str(self.folder / "calls"),
            "USER_NAME": user,
            "WAIT_S": "2",
            "LC_ALL": "C.UTF-8",
            **({"CUT": str(cut)} if cut else {}),
        }
        # A separate process group, whose number the script's commands know.
        started = subprocess.Popen(
            ["/bin/sh", "-c", 'export GROUP=$$; exec "$@"', "sh", shell, script, *arguments],
            env=environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        output, _ = started.communicate(timeout=60)
        return subprocess.CompletedProcess([str(script)], started.returncode, output, "")

    def calls(self) -> list[list[str]]:
        """Return each call of a stand-in: its name and its arguments."""
        path = self.folder / "calls"
        if not path.exists():
            return []
        return [call.split("\0") for call in path.read_text(encoding="utf-8").split("\0\0") if call]


def have_shells(*names: str) -> str:
    """Return those of the shells that are missing."""
    return ", ".join(name for name in names if shutil.which(name) is None)


def _program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def compose(sandbox: Sandbox, style: Style, config: PiConfig, install: str = INSTALL) -> None:
    """Write the files of a card to the sandbox's boot partition."""
    boot = FolderVolume(sandbox.boot)
    boot.put({"cmdline.txt": CMDLINE, "config.txt": "[all]\n"})
    for file in first_boot_files(system_of(style), config, boot):
        boot.put({file.path: file.data})
    boot.put({"fer-edge/install.sh": install, "fer-edge/secrets/mqtt-password": "hunter22\n"})


def everything_on(folder: Path) -> bytes:
    return b"\0".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def set_up(sandbox: Sandbox, style: Style) -> None:
    """Run the style's own script to its end, without an error."""
    script = sandbox.boot / ("firstrun.sh" if style is Style.SYSTEMD else SETUP)
    ran = sandbox.run(script, *([] if style is Style.SYSTEMD else [style]))
    assert ran.returncode == 0 and "failed" not in ran.stdout, ran.stdout


def first_boot(sandbox: Sandbox) -> str:
    """Run the service to its successful end; return its output."""
    ran = sandbox.run(sandbox.root / STATE / "first-boot.sh")
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


def cloud_init_is_through(sandbox: Sandbox) -> None:
    sandbox.write("var/lib/cloud/instance/boot-finished", "")
