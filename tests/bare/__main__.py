"""``make test-bare``: run ``make test`` in a chroot with Debian's minimal base, make and python3-venv."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from arm.rootfs import CHECKOUT, SUITES, kept
from arm.sandbox import run
from bare.download_settings import download_settings
from fer_edge.errors import CheckFailedError, FerEdgeError, InputError
from fer_edge.system.user_folders import cache_folder

_DEBIAN = "make,python3-venv"
"""The packages that the README requires."""
_PROGRAMS = {"mmdebstrap": "mmdebstrap", "unshare": "util-linux", "mount": "mount", "git": "git"}
_CHECKOUT_THERE = "/root/fer-edge"
# All mounts are in this shell's namespaces and disappear when it ends. $0 is the root. The pairs that follow, up to an
# empty word, are read-only bind mounts, and the rest is the command.
_ENTER = """
mount --bind "$0" "$0" # tests make mount namespaces, which need a root that is a mount point
mount -t proc proc "$0/proc"
mount --rbind /sys "$0/sys"
mount --rbind /dev "$0/dev"
while [ -n "$1" ]; do
    mount --bind "$1" "$0$1"
    mount -o remount,bind,ro "$0$1"
    shift
done
shift
exec chroot "$0" "$@"
"""


def main() -> None:
    """Create the root once, then run the tests in a copy of it; other arguments are for pytest."""
    parser = argparse.ArgumentParser(prog="make test-bare", description=__doc__)
    parser.add_argument("--suite", choices=SUITES, default="bookworm")
    parser.add_argument("--cache", type=Path, default=cache_folder() / "bare", help="where the root's archive is kept")
    parser.add_argument(
        "--root", type=Path, metavar="DIR", help="run in DIR and keep it, so that the next run finds its .venv"
    )
    arguments, pytest_arguments = parser.parse_known_args()
    # SIGTERM acts like Ctrl-C, so that the root is removed then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        _refuse_if_something_is_missing()
        suite: str = arguments.suite
        cache = arguments.cache.absolute()
        with kept(cache, suite, _DEBIAN.encode(), partial(_build, suite)) as folder:
            if arguments.root is not None:
                _test(folder / "root.tar", arguments.root.absolute(), pytest_arguments)
            else:
                # Next to the archive: /tmp may be in memory, and an environment with TensorFlow is 2 GB.
                with tempfile.TemporaryDirectory(prefix="root-", dir=cache) as scratch:
                    _test(folder / "root.tar", Path(scratch) / "root", pytest_arguments)
    except FerEdgeError as error:
        print(f"make test-bare: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def _refuse_if_something_is_missing() -> None:
    """Raises InputError."""
    missing = sorted({package for program, package in _PROGRAMS.items() if shutil.which(program) is None})
    if missing or os.geteuid() != 0:
        raise InputError(f"needs root, and apt-get install {' '.join(missing or sorted(set(_PROGRAMS.values())))}")


def _build(suite: str, folder: Path) -> None:
    print(f"Preparing {suite} with make and python3-venv (once)", flush=True)
    archive = folder / "root.tar"
    run(["mmdebstrap", "--quiet", "--variant=minbase", f"--include={_DEBIAN}", suite, archive])


def _test(archive: Path, root: Path, pytest_arguments: list[str]) -> None:
    """Run ``make test`` in ``root``, created from ``archive`` if it is missing. Raises CheckFailedError."""
    if not root.exists():
        root.mkdir(parents=True)
        # The devices are this machine's.
        run(["tar", "-x", "--exclude=./dev/*", "-C", root, "-f", archive])
    for name in ("resolv.conf", "hosts"):
        shutil.copy(Path("/etc") / name, root / "etc" / name)
    _copy_checkout(root / _CHECKOUT_THERE.lstrip("/"))
    settings = download_settings()
    for path in settings.paths:
        _make_mount_point(root / str(path).lstrip("/"), path)
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        **{name: os.environ[name] for name in ("TEST_PROCESSES",) if name in os.environ},
        **settings.environment,
    }
    test = ["make", "--directory", _CHECKOUT_THERE, "test", f"ARGS={shlex.join(pytest_arguments)}"]
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--", "sh", "-ec", _ENTER, root]
    done = subprocess.run([*command, *settings.paths, "", *test], env=environment, check=False)
    if done.returncode:
        raise CheckFailedError(f"make test failed in a bare {archive.parent.name.partition('-')[0]}")


def _copy_checkout(target: Path) -> None:
    """Return the files of `git archive`, including uncommitted changes: no .git, no ignored files."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    if target.exists():  # kept from a run before: its .venv stays
        for path in target.iterdir():
            if path.name != ".venv":
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for name in filter(None, listed.split("\0")):
        source = CHECKOUT / name
        if source.is_symlink() or source.exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name, follow_symlinks=False)


def _make_mount_point(there: Path, path: Path) -> None:
    if path.is_dir():
        there.mkdir(parents=True, exist_ok=True)
    elif not there.exists():
        there.parent.mkdir(parents=True, exist_ok=True)
        there.touch()


if __name__ == "__main__":
    main()
