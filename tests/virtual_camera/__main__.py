"""``make test-picamera2``: test the picamera2 source with the real package and libcamera's virtual camera."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import jsonschema

from arm.rootfs import CHECKOUT, extract_debian, install_project, install_wheels, kept
from arm.sandbox import run
from fer_edge.errors import CheckFailedError, FerEdgeError, InputError
from fer_edge.system.user_folders import cache_folder

HERE = Path(__file__).parent
_SUITE, _PYTHON = "trixie", "3.13"  # the first Debian whose libcamera has the virtual camera
_DEBIAN = "python3,python3-libcamera,libcamera-ipa,python3-prctl,libstdc++6"
# Dependencies of picamera2 except numpy, which comes with the packages of locks/edge.txt.
_PACKAGES = (
    *("picamera2==0.3.38", "piexif", "pillow", "simplejpeg", "av", "jsonschema", "jsonschema-specifications"),
    *("referencing", "rpds-py", "attrs", "libarchive-c", "tqdm", "videodev2"),
)
_TOO_OLD = "picamera2==0.3.12"  # the first one on Bookworm
_CAMERA = """\
"Virtual0":
  supported_formats:
  - {width: 640, height: 480, frame_rates: [30, 60]}
  - {width: 640, height: 360, frame_rates: [30, 60]}
  - {width: 640, height: 400, frame_rates: [30, 60]}
  - {width: 640, height: 478, frame_rates: [30, 60]}
  test_pattern: "bars"
  location: "CameraLocationFront"
  model: "Virtual Video Device"
"""


def main() -> None:
    """Prepare the root file system once, then run the checks."""
    parser = argparse.ArgumentParser(prog="make test-picamera2", description=__doc__)
    parser.add_argument("--cache", type=Path, default=cache_folder() / "virtual-camera", help="where the root is kept")
    try:
        _refuse_if_something_is_missing()
        with kept(parser.parse_args().cache.absolute(), "root", _made_from(), _build) as root:
            _check(root)
    except FerEdgeError as error:
        print(f"make test-picamera2: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def _refuse_if_something_is_missing() -> None:
    missing = [tool for tool in ("mmdebstrap", "bwrap", "gcc") if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        raise InputError("needs root, and apt-get install mmdebstrap bubblewrap gcc libc6-dev")


def _made_from() -> bytes:
    files = b"".join(path.read_bytes() for path in (HERE / "dma_buf.c", CHECKOUT / "locks" / "edge.txt"))
    return files + " ".join([_SUITE, _PYTHON, _DEBIAN, *_PACKAGES, _TOO_OLD, _CAMERA]).encode()


def _build(root: Path) -> None:
    print(f"Preparing {_SUITE} with libcamera and picamera2 (once)", flush=True)
    for folder in ("opt/site", "dev", "proc", "tmp"):
        (root / folder).mkdir(parents=True)
    extract_debian(root, _SUITE, "amd64", _DEBIAN)
    site = root / "opt/site"
    install_wheels(site, _PYTHON, "x86_64", "--require-hashes", "-r", CHECKOUT / "locks" / "edge.txt")
    install_wheels(site, _PYTHON, "x86_64", *_PACKAGES)
    install_wheels(root / "opt/old", _PYTHON, "x86_64", "--no-deps", _TOO_OLD)
    run(["gcc", "-shared", "-fPIC", "-O1", "-o", root / "opt/dma_buf.so", HERE / "dma_buf.c", "-ldl"])
    virtual = root / "usr/share/libcamera/pipeline/virtual"
    virtual.mkdir(parents=True, exist_ok=True)
    (virtual / "virtual.yaml").write_text(_CAMERA)


def _check(root: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="fer-edge-virtual-camera-") as folder:
        project, out = Path(folder) / "project", Path(folder) / "out"
        out.mkdir()
        install_project(project)  # its entry points are used: a checkout has none outside its own environment
        for part in ("look", "hang", "modes", "rate", "leak"):
            print(_fer_edge(root, project, out, 0, "check", part).stdout, end="", flush=True)
        for source in ("picamera2", "picamera2:Virtual0"):
            _fer_edge(root, project, out, 0, "run", source, "--max-frames", "30", "--stats", "s.json")
            stats = json.loads((out / "s.json").read_text())
            if stats["frames"] != 30 or stats["stages"]["age"]["calls"] != 30:
                raise CheckFailedError(f"fer-edge run {source}: {stats}")
            print(f"fer-edge run {source}: 30 frames, {stats['stages']['age']['p50_ms']:.0f} ms old when reported")
        for source, message in {
            "picamera2:7": "camera 7 not found, libcamera sees 1",
            "picamera2:/base/imx219@10": "camera /base/imx219@10 not found; libcamera sees: picamera2:Virtual0",
        }.items():
            _expect(_fer_edge(root, project, out, 3, "run", source).stderr, message)
        print("a missing camera: exit 3 and one line, by number and by id")
        old = _fer_edge(root, project, out, 2, "unbent", "run", "picamera2", site="/opt/old:/opt/site").stderr
        _expect(old, f"version {_TOO_OLD.partition('==')[2]} is too old, 0.3.17 or newer is required")
        print(f"{_TOO_OLD}: exit 2 and one line")
        _check_doctor(root, project, out)


def _check_doctor(root: Path, project: Path, out: Path) -> None:
    command = ("unbent", "doctor", "--report", "report.json")
    said = _fer_edge(root, project, out, 0, *command, site="/tmp/checks:/opt/site").stdout
    _expect(said, 'Virtual Video Device as "picamera2:Virtual0"')
    print("doctor lists the camera with its name for the settings")
    report = json.loads((out / "report.json").read_text())
    schema = json.loads((CHECKOUT / "edge/fer_edge/schema/report.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(report)
    (camera,) = report["cameras"]
    if camera.get("frames", 0) < 10 or (camera["width"], camera["height"]) != (640, 480):
        raise CheckFailedError(f"fer-edge doctor --report: {camera}")
    print(f"its report: libcamera {report['libcamera']}, {camera}")


def _expect(said: str, message: str) -> None:
    if message not in said:
        raise CheckFailedError(f"not in the output: {message!r}: {said}")


def _fer_edge(
    root: Path, project: Path, out: Path, code: int, *arguments: str, site: str = "/opt/site"
) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = ["bwrap", "--die-with-parent", "--unshare-net", "--clearenv", "--chdir", "/tmp/out"]
    command += ["--ro-bind", root, "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]
    command += ["--ro-bind", project, "/tmp/project", "--bind", out, "/tmp/out"]
    for file in (*HERE.glob("*.py"), HERE.parent / "support" / "cameras" / "sensors.py"):
        command += ["--ro-bind", file, f"/tmp/checks/{file.name}"]
    for name, value in {
        "LD_PRELOAD": "/opt/dma_buf.so",
        "PYTHONPATH": f"/tmp/project:{site}",
        "LIBCAMERA_LOG_LEVELS": "*:FATAL",
        # libcamera 0.4's virtual camera does not initialize the status of a frame, and picamera2 drops frames whose
        # status is not 0: with this setting malloc returns zeros.
        "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.perturb=255",
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
    }.items():
        command += ["--setenv", name, value]
    command += ["/usr/bin/python3", "/tmp/checks/fer_edge_with_virtual_camera.py", *arguments]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=600, check=False)
    if done.returncode != code:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise CheckFailedError(f"{' '.join(arguments)}: exit {done.returncode}, not {code}: {said}")
    return done


if __name__ == "__main__":
    main()
