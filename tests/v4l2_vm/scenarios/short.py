"""The short scenario: fer-edge waits for a missing camera; it appears, shows a face, and is unplugged."""

from __future__ import annotations

from v4l2_vm.checks import seen, watching
from v4l2_vm.vivid import load_vivid, showing

SETTINGS = """\
[source]
timeout_s = 5.0
[recovery]
reconnect = true
retry_min_s = 0.5
retry_max_s = 0.5
"""

with watching("/dev/video0", settings=SETTINGS) as run:
    lost = run.wait_for_event("source_lost")
    (camera,) = load_vivid()
    with showing(camera):
        back = run.wait_for_event("source_back", after=lost)
        first = run.wait_for_event("appeared", after=back)
        seen(f"a camera that came late: source_back, {run.events()[first - 1]['emotion']}")
        camera.disconnect()
        run.wait_for_event("source_lost", after=first)
        seen("unplugged: source_lost")
