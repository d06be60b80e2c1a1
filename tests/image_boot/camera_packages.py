"""A small version of Raspberry Pi's archive: the parts of picamera2 that Debian lacks.

python3-picamera2, python3-simplejpeg and python3-videodev2 are PyPI's own wheels as Debian packages; python3-kms++ (a
preview on a screen) and python3-pidng (raw photos) are empty modules. Debian's Bookworm has libcamera without Python
bindings: there python3-libcamera is a stub that has every name and does nothing. Raspberry Pi's
archive has the real packages.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

from arm.rootfs import Suite
from arm.sandbox import run
from support.servers.apt_repository import Repository, make_deb

_SITE = "usr/lib/python3/dist-packages"
_NEEDS = (
    "python3:any, python3-libcamera, libcamera-ipa, python3-kms++, python3-pidng, python3-piexif, python3-pil, "
    "python3-simplejpeg, python3-videodev2, python3-prctl, python3-av, python3-libarchive-c, python3-numpy, "
    "python3-tqdm, python3-jsonschema"
)
"""picamera2's requirements in pyproject.toml, without libcamera, and OpenEXR, which only writing such files needs."""
_ANY_NAME = """\
class _AnyName(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _AnyName(name, (), {})

    def __call__(cls, *arguments, **named):
        return cls

    def __iter__(cls):
        return iter(())


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return _AnyName(name, (), {})
"""
_PIDNG = {"": "", "camdefs": "class Picamera2Camera:\n    pass\n", "core": "class PICAM2DNG:\n    pass\n"}
# As by debhelper's dh_python3: modules are compiled at installation.
_SCRIPTS = {"postinst": "#!/bin/sh\nset -e\npy3compile -p NAME\n"}


def fill(repository: Repository, suite: Suite, scratch: Path) -> None:
    """Put the packages for ``suite`` into the repository and publish it. Raises InputError if pip cannot fetch."""
    pool = repository.pool
    for name, wheel, needs in (
        ("python3-picamera2", "picamera2==0.3.38", _NEEDS),
        ("python3-simplejpeg", "simplejpeg==1.9.0", "python3:any, python3-numpy"),
        ("python3-videodev2", "videodev2==0.0.4", "python3:any"),
    ):
        _as_deb(pool, name, _wheel(wheel, suite, scratch), needs)
    make_deb(pool, "python3-kms++", files={f"{_SITE}/pykms.py": _ANY_NAME})
    pidng = {f"{_SITE}/pidng/{name or '__init__'}.py": text for name, text in _PIDNG.items()}
    make_deb(pool, "python3-pidng", files=pidng)
    if suite.name == "bookworm":
        make_deb(pool, "python3-libcamera", depends="libcamera0.0.3", files={f"{_SITE}/libcamera.py": _ANY_NAME})
    repository.publish()


def _wheel(requirement: str, suite: Suite, folder: Path) -> Path:
    target = folder / requirement.partition("=")[0]
    tag = f"cp{suite.python.replace('.', '')}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", target]
    command += ["--implementation=cp", f"--python-version={suite.python}", f"--abi={tag}", "--abi=none"]
    for glibc in ("2014", "_2_17", "_2_28"):
        command.append(f"--platform=manylinux{glibc}_aarch64")
    run([*map(str, command), requirement])
    (wheel,) = target.glob("*.whl")
    return wheel


def _as_deb(pool: Path, name: str, wheel: Path, needs: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        # Without what an upstream wheel contains in addition to its package, such as tests.
        files = {f"{_SITE}/{entry}": archive.read(entry) for entry in archive.namelist() if not entry.endswith("/")}
    scripts = {key: text.replace("NAME", name) for key, text in _SCRIPTS.items()}
    architecture = "all" if wheel.name.endswith("-none-any.whl") else "arm64"
    version = f"{wheel.name.split('-')[1]}-1"
    make_deb(pool, name, version, architecture=architecture, depends=needs, files=files, scripts=scripts)
