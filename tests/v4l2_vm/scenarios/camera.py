"""A V4L2 camera is unplugged and returns, also with another size; frames are dropped; two cameras run in parallel."""

from __future__ import annotations

import time

from v4l2_vm.checks import ensure, seen, watching
from v4l2_vm.vivid import load_vivid, showing, unload_vivid

SETTINGS = """\
[source]
timeout_s = 5.0
[recovery]
reconnect = true
retry_min_s = 1.0
retry_max_s = 1.0
"""

(camera,) = load_vivid()
with watching(str(camera.device), settings=SETTINGS) as run:
    with showing(camera):
        first = run.wait_for_event("appeared")
        seen(f"{camera.device}: appeared, {run.events()[first - 1]['emotion']}")

        began = time.monotonic()
        camera.drop(100)
        lost = run.wait_for_event("source_lost", after=first)
        seen(f"the driver drops every frame: source_lost after {time.monotonic() - began:.1f} s (timeout_s = 5)")
        camera.drop(90)
        back = run.wait_for_event("source_back", after=lost)
        again = run.wait_for_event("appeared", after=back)
        seen("it drops nine of ten: source_back, appeared")

        began = time.monotonic()
        camera.disconnect()
        lost = run.wait_for_event("source_lost", after=again)
        seen(f"unplugged: source_lost after {time.monotonic() - began:.1f} s")
    unload_vivid()
    (camera,) = load_vivid(wide=True)
    with showing(camera, wide=True):
        back = run.wait_for_event("source_back", after=lost)
        again = run.wait_for_event("appeared", after=back)
        seen("it comes back with 1280 x 720 pixels: source_back, appeared")
ensure(run.process.returncode == 0, f"exit {run.process.returncode}: {run.log()}")
unload_vivid()

left, right = load_vivid(2)
with showing(left), showing(right), watching(str(left.device), str(right.device), settings=SETTINGS, name="two") as run:
    for source in ("video0", "video1"):
        run.wait_for_event("appeared", source=source)
    left.disconnect()
    lost = run.wait_for_event("source_lost", source="video0")
    before = run.events()[lost - 1]["mono"]
    time.sleep(12)  # longer than timeout_s and than detecting a loss takes
    kinds = [(event["source"], event["kind"]) for event in run.events() if event["mono"] > before]
    ensure(("video1", "source_lost") not in kinds, f"the second camera was lost with the first: {kinds}")
    seen("two cameras: a face in each; the first is unplugged, the second continues")
