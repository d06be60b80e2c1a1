"""New versions of the model in the running daemon: polls, the shadow, the switch, and the probation.

The daemon's main thread calls this a few times a second. A change of the version in use becomes a reload, which tries
the new model before the old session ends.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable

from fer_edge.daemon.current_model import boot_id, failures_printed
from fer_edge.errors import FerEdgeError
from fer_edge.model.bundle import ModelBundle
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.status import StatusBoard, UpdateStatus
from fer_edge.system.closing import Closing
from fer_edge.system.messages import print_message
from fer_edge.types import RuntimeStatus
from fer_edge.update.device import device_of
from fer_edge.update.poller import Poller
from fer_edge.update.probation import MIN_CROPS, Watch, too_slow
from fer_edge.update.shadow import Shadow

_POLL_S = 1.0
_JUDGE_EVERY_S = 5.0
_RELOAD_EVERY_S = 60.0
"""A reload may be refused, such as for invalid settings in the file."""
_MAX_SHADOW_FACTOR = 10
"""A device without faces in view ends the shadow after this many times ``shadow_s``."""


class ModelHungError(FerEdgeError):
    """A model does not return from a classification, which only a new process can end."""


class Updates(Closing):
    """Updates of a session that runs ``bundle``.

    If another program runs with the same folder of updates, this one only follows its changes.

    Args:
        settings: With ``update.url``.
        watch: The classifiers of the sources.
        statuses: Returns the counts and times of each source.
        reload: Asks for a reload.
    """

    def __init__(
        self,
        settings: RuntimeSettings,
        bundle: ModelBundle,
        watch: Watch,
        statuses: Callable[[], Iterable[RuntimeStatus]],
        board: StatusBoard,
        reload: Callable[[], None],
    ) -> None:
        self._watch = watch
        self._settings, self._statuses, self._board, self._reload = settings.update, statuses, board, reload
        self._device = device_of(settings)
        self._store = self._device.store
        self._bundle = bundle.folder
        now = time.monotonic()
        self._started_at, self._next_at, self._judge_at = now, now, now + _JUDGE_EVERY_S
        self._version, self._seen = self._store.version, self._store.signature()
        self.state = self._store.state()
        self._poller = Poller(self._device, now)
        self._shadow: Shadow | None = None
        self._shadow_at, self._shadow_of = math.inf, ""
        self._reload_at = now
        self._claim: int | None = None
        with failures_printed():
            self._claim = self._store.claim()
            if self._claim is not None and self.state.probation is not None:
                self._store.update(running=boot_id())
        self._publish()

    def poll(self, now: float) -> None:
        """Do what is due. Raises ModelHungError if the model hangs, after the previous version was restored."""
        if now < self._next_at:
            return
        self._next_at = now + _POLL_S
        seen = self._store.signature()
        if seen != self._seen:
            self._seen = seen
            with failures_printed():
                self.state = self._store.state()
            self._publish()
        if self._store.version != self._version:
            if now >= self._reload_at:
                self._reload_at = now + _RELOAD_EVERY_S
                self._reload()
            return
        if self._claim is None:
            return
        self._poller.poll(now)
        with failures_printed():
            self._take_further(now)
        if self.state.probation is not None and self.state.probation == self._version:
            self._judge(now, self._version)

    def close(self) -> None:
        """End the processes, and record that this one ends in order. Idempotent."""
        self._poller.close()
        self._end_shadow()
        claim, self._claim = self._claim, None
        if claim is not None:
            if self.state.probation is not None:
                with failures_printed():
                    self._store.update(running=None)
            os.close(claim)

    def _publish(self) -> None:
        state, shadow = self.state, self._shadow
        compared = shadow.compared if shadow is not None else None
        agreement = compared.agreed / compared.crops if compared is not None and compared.crops else None
        self._board.set_update(UpdateStatus(state.phase, state.candidate, state.offered, agreement, state.problem))

    def _take_further(self, now: float) -> None:
        """Compare a candidate with the version in use, and use it afterwards."""
        candidate, shadow_s = self.state.candidate, self._settings.shadow_s
        waiting = candidate is not None and self.state.stage in ("checked", "shadow") and self.state.probation is None
        if self._shadow is not None and candidate != self._shadow_of:  # a newer one was published meanwhile
            self._end_shadow()
        if candidate is None or not waiting or not shadow_s:
            self._end_shadow()
            return
        if self._shadow is None:
            self._begin_shadow(candidate, now)
            return
        code, compared = self._shadow.poll(), self._shadow.compared
        self._publish()
        if code is not None:
            self._end_shadow()
            self._refuse(candidate, f"the process that compared it ended with exit code {code}")
            return
        elapsed_s = now - self._shadow_at
        if elapsed_s < shadow_s or (compared.crops < MIN_CROPS and elapsed_s < _MAX_SHADOW_FACTOR * shadow_s):
            return
        self._end_shadow()
        if compared.crops:
            self.state = self._store.advance(candidate, compared=compared)
            slow = too_slow(self._settings, compared, self._frame_ms(), compared.new_ms)
            if slow is not None:
                self._refuse(candidate, slow)
                return
        agreed = f"{100 * compared.agreed / compared.crops:.1f} %" if compared.crops else "none"
        print_message(f"update: {candidate} is used now; it agreed on {agreed} of {compared.crops} faces")
        self._store.switch(candidate)

    def _begin_shadow(self, candidate: str, now: float) -> None:
        model = self._device.model
        self._shadow = Shadow(
            self._bundle,
            self._store.path(candidate),
            model.variant,
            model.interpreter,
            self._settings.max_cpu_share,
        )
        self._shadow_at, self._shadow_of = now, candidate
        self._watch.offer_to(self._shadow.offer)
        self.state = self._store.advance(candidate, stage="shadow")
        print_message(f"update: {candidate} is compared with the version in use for {self._settings.shadow_s:g} s")

    def _end_shadow(self) -> None:
        if self._shadow is not None:
            self._watch.offer_to(None)
            self._shadow.close()
            self._shadow = None

    def _judge(self, now: float, version: str) -> None:
        """End the probation of ``version``, for better or worse."""
        if self._watch.hangs(now):
            self._refuse(version, "a classification did not return")
            raise ModelHungError(
                f"the model {version} does not return from a classification; ending, to be started again"
            )
        if now < self._judge_at or self._watch.crops < MIN_CROPS:
            return
        self._judge_at = now + _JUDGE_EVERY_S
        slow = too_slow(self._settings, self.state.compared, self._frame_ms(), self._watch.median_ms())
        if slow is not None:
            self._refuse(version, slow)
        elif now - self._started_at >= self._settings.probation_s:
            with failures_printed():
                self._store.settle(version)
            print_message(f"update: {version} has passed its probation")

    def _refuse(self, version: str, reason: str) -> None:
        print_message(f"update: {version} is not used any more: {reason}")
        with failures_printed():
            self._store.refuse(version, reason)

    def _frame_ms(self) -> float:
        """Return the 95th percentile of the time of a frame, of the slowest source, milliseconds."""
        stages = (status.stages.get("frame") for status in self._statuses())
        return max((stage.p95_ms for stage in stages if stage is not None), default=0.0)
