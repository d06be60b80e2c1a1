"""``make test-mcu TFLM=PATH``: exported models run on an emulated Cortex-M3, with LiteRT's results.

Exports each released bundle, builds it with arm-none-eabi-gcc by the exported CMakeLists.txt, and runs its golden
inputs on QEMU's mps2-an385. Prints flash, RAM and the largest difference; exit 1 if a difference exceeds 1, or if the
export's estimate of flash or arena is too small or more than a quarter too large.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from fer_bench.results.mcu import McuReport, McuResult, mcu_report_to_json
from fer_convert.mcu.export import Limits, export
from fer_edge.model.bundle import load_bundle

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
BUNDLES = ("fer-edge-xs", "fer-edge-s")
COMPILER = "arm-none-eabi-g++"
TOOLS = {
    "cmake": "cmake",
    COMPILER: "gcc-arm-none-eabi libnewlib-arm-none-eabi libstdc++-arm-none-eabi-newlib",
    "qemu-system-arm": "qemu-system-arm",
}
MAX_EXCESS = 1.25
PROJECT = """\
cmake_minimum_required(VERSION 3.16)
project(probe LANGUAGES C CXX)
add_subdirectory({model} model)
target_sources(fer_edge_golden PRIVATE {here}/startup.cc)
target_link_options(fer_edge_golden PRIVATE
  -nostartfiles --specs=rdimon.specs -Wl,--gc-sections -T{here}/mps2_an385.ld -Wl,-Map={folder}/firmware.map)
target_link_libraries(fer_edge_golden PRIVATE rdimon)
"""


def problems(found: McuResult) -> list[str]:
    """Return the limits that are exceeded."""
    exceeded = [f"an output differs by {found.max_difference}"] if found.max_difference > 1 else []
    for what, measured, estimate in (
        ("code", found.code_bytes, found.code_estimate_bytes),
        ("arena", found.arena_bytes, found.arena_estimate_bytes),
    ):
        if not measured <= estimate <= MAX_EXCESS * measured:
            exceeded.append(f"{what}: estimated {estimate:,} bytes, measured {measured:,}")
    return exceeded


def run(*command: object, timeout_s: float = 3600) -> str:
    """Return the output of ``command``. Ends the program if it fails."""
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if done.returncode:
        sys.exit(f"make test-mcu: {command[0]}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout + done.stderr


def measure(name: str, tflm: Path, golden: int, data: Path | None, folder: Path) -> McuResult:
    """Export, build and run the bundle ``name``; ``folder`` may have the build of another one."""
    with load_bundle(ROOT / "models" / name) as bundle:
        done = export(bundle, "int8", folder / "model", limits=Limits(), golden=golden, data=data, force=True)
        sha256 = bundle.variant("int8").sha256
    (folder / "CMakeLists.txt").write_text(PROJECT.format(model=done.folder, here=HERE, folder=folder))
    build = folder / "build"
    toolchain = f"-DCMAKE_TOOLCHAIN_FILE={HERE / 'cortex-m3.cmake'}"
    run("cmake", "-S", folder, "-B", build, toolchain, f"-DTFLM_DIR={tflm}", "-DFER_EDGE_GOLDEN=ON")
    run("cmake", "--build", build, "-j", "2")
    firmware = build / "model" / "fer_edge_golden"
    text, initialized, zeroed = map(int, run("arm-none-eabi-size", firmware).splitlines()[1].split()[:3])
    qemu = ("qemu-system-arm", "-M", "mps2-an385", "-nographic", "-semihosting-config", "enable=on,target=native")
    output = run(*qemu, "-kernel", firmware)
    sys.stdout.write("\n".join(line for line in output.splitlines() if not line.startswith("golden ")) + "\n")
    used = re.search(r"arena: (\d+) of", output)
    worst = re.search(rf"largest difference of {golden} golden inputs: (\d+)", output)
    if used is None or worst is None:
        sys.exit(f"make test-mcu: {name}: unexpected output:\n{output}")
    images = golden * (48 * 48 + 7)
    return McuResult(
        bundle=name,
        sha256=sha256,
        model_bytes=done.needs.model,
        code_bytes=text + initialized - done.needs.model - images,
        code_estimate_bytes=done.needs.code,
        arena_bytes=int(used[1]),
        arena_estimate_bytes=done.needs.arena,
        static_bytes=initialized + zeroed - done.needs.arena,
        golden=golden,
        max_difference=int(worst[1]),
    )


def main() -> int:
    """Measure all bundles."""
    parser = argparse.ArgumentParser(prog="make test-mcu", description=__doc__.splitlines()[0])
    parser.add_argument("--tflm", type=Path, required=True, help="source tree of TensorFlow Lite Micro")
    parser.add_argument("--golden", type=int, default=50, help="golden inputs for each bundle (default: 50)")
    parser.add_argument("--data", type=Path, help="FER2013, for its PublicTest images (default: a drawn face)")
    parser.add_argument("--bundles", nargs="+", default=list(BUNDLES), help="bundles in models/")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    arguments = parser.parse_args()
    missing = sorted(package for tool, package in TOOLS.items() if shutil.which(tool) is None)
    if missing:
        sys.exit(f"make test-mcu: needs apt-get install {' '.join(missing)}")
    if not (arguments.tflm / "tensorflow/lite/micro/micro_interpreter.h").is_file():
        sys.exit(f"make test-mcu: {arguments.tflm}: not a source tree of TensorFlow Lite Micro: TFLM=PATH")
    # In one folder, so that TensorFlow Lite Micro is compiled once.
    with tempfile.TemporaryDirectory(prefix="fer-edge-mcu-") as folder:
        results = [
            measure(name, arguments.tflm.resolve(), arguments.golden, arguments.data, Path(folder))
            for name in arguments.bundles
        ]
    sys.stdout.write(
        "| bundle | model | code (estimate) | arena (estimate) | other RAM | golden | largest difference |\n"
        "|---|---|---|---|---|---|---|\n"
    )
    for one in results:
        sys.stdout.write(
            f"| {one.bundle} | {one.model_bytes:,} | {one.code_bytes:,} ({one.code_estimate_bytes:,}) |"
            f" {one.arena_bytes:,} ({one.arena_estimate_bytes:,}) | {one.static_bytes:,} |"
            f" {one.golden} | {one.max_difference} |\n"
        )
    if arguments.json is not None:
        version = run(COMPILER, "-dumpfullversion").strip()
        report = McuReport("Cortex-M3 (mps2-an385 in QEMU)", f"{COMPILER} {version}", tuple(results))
        arguments.json.write_text(mcu_report_to_json(report), encoding="utf-8")
    exceeded = [f"{one.bundle}: {problem}" for one in results for problem in problems(one)]
    for problem in exceeded:
        sys.stderr.write(f"make test-mcu: {problem}\n")
    return 1 if exceeded else 0


if __name__ == "__main__":
    sys.exit(main())
