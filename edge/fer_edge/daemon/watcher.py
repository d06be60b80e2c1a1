"""Watch several sources in the background, for programs of your own."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, suppress

import msgspec

from fer_edge.daemon.loop import MainLoop, Plan
from fer_edge.daemon.outputs import Outputs
from fer_edge.daemon.pipelines import Pipelines
from fer_edge.daemon.signals import MAX_STOP_S, StopRequest
from fer_edge.errors import ConfigError
from fer_edge.frames import Limits
from fer_edge.model.bundle import ModelBundle, load_bundle
from fer_edge.protocols import ClosingSink
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.sources import named_sources, open_sources
from fer_edge.status import StatusBoard
from fer_edge.system.closing import Closing
from fer_edge.system.driver_threads import DriverThread
from fer_edge.types import EmotionEvent

_MAX_QUEUED_EVENTS = 10_000


class Watcher(Closing):
    """Watches sources in the background, each with its own pipeline, until all have ended or ``close`` is called.

    Events are passed to ``on_event``, in a thread of the watcher, or else are iterated over, by ``for`` or by ``async
    for``. Up to 10,000 events wait to be taken; beyond that the oldest are dropped, and counted in ``dropped``.

    Args:
        sources: As on the command line: ``"0"``, ``"door=rtsp://…"``; none for those that ``settings`` name.
        settings: None for the defaults. With ``recovery.reconnect`` a camera that is lost is opened again.
        bundle: A model bundle, or the path of one; None for the bundle in the package.
        on_event: Called with each event. An exception that it raises ends the watcher, and is raised by ``wait``.

    Raises:
        InputError: If a source's file is missing or cannot be used, or if no source is given.
        ModelError: If the model is refused.

    >>> from fer_edge import Watcher
    >>> with Watcher("entrance=demo") as watcher:
    ...     event = next(iter(watcher))
    >>> event.source, event.kind.value, event.emotion
    ('entrance', 'appeared', 'happy')

    With a callback:

    >>> kinds = []
    >>> with Watcher("demo", on_event=lambda event: kinds.append(event.kind.value)) as watcher:
    ...     ended = watcher.wait(timeout_s=60.0)
    >>> ended, kinds[0], kinds[-1]
    (True, 'appeared', 'left')

    With asyncio:

    >>> import asyncio
    >>> async def first_event():
    ...     with Watcher("demo") as watcher:
    ...         async for event in watcher:
    ...             return event.kind.value
    >>> asyncio.run(first_event())
    'appeared'
    """

    def __init__(
        self,
        *sources: str,
        settings: RuntimeSettings | None = None,
        bundle: ModelBundle | str | os.PathLike[str] | None = None,
        on_event: Callable[[EmotionEvent], None] | None = None,
    ) -> None:
        settings = settings or RuntimeSettings()
        if sources:
            source = msgspec.structs.replace(settings.source, uris=sources)
            settings = msgspec.structs.replace(settings, source=source, cameras={})
        named = named_sources(settings)
        if not named:
            raise ConfigError('no source to watch; pass one, such as "0" or "door=rtsp://…"')
        self._events = _EventQueue()
        self._stop, self._ended = StopRequest(), threading.Event()
        self._failure: Exception | None = None
        with ExitStack() as stack:
            if settings.emotion.enabled and not isinstance(bundle, ModelBundle):
                bundle = stack.enter_context(load_bundle(bundle))
            pipelines = Pipelines(settings, named, bundle if isinstance(bundle, ModelBundle) else None, StatusBoard())
            for each in named:
                pipelines.load(each.name)
        openings = open_sources(named, realtime=settings.source.realtime, stop=self._stop.asked)
        sink = self._events if on_event is None else _Callback(on_event)
        max_fps = {each.name: each.settings.max_fps for each in named}
        plan = Plan(Limits(), settings.recovery, max_fps=max_fps, tell=lambda _: None)
        self._loop = MainLoop(openings, pipelines.open, Outputs([sink]), self._stop, plan)
        self._thread = DriverThread(self._run, "watcher")
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Number of events that were dropped because they were not taken in time."""
        return self._events.dropped

    @property
    def running(self) -> bool:
        """Whether a source is still watched."""
        return not self._ended.is_set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until all sources have ended; return False if ``timeout_s`` passed before.

        Raises:
            Exception: What ended the watcher: SourceLostError, InputError, or what ``on_event`` raised.
        """
        if not self._ended.wait(timeout_s):
            return False
        if self._failure is not None:
            raise self._failure
        return True

    def close(self) -> None:
        """Stop watching, and close the sources; a driver that does not return is left behind after 5 s. Idempotent."""
        self._stop.asked.set()
        if threading.current_thread() is not self._thread:  # as in on_event
            self._thread.join(MAX_STOP_S)

    def __iter__(self) -> Iterator[EmotionEvent]:
        """Yield each event; raises as ``wait`` when the sources have ended."""
        while (event := self._events.take()) is not None:
            yield event
        self.wait()

    async def __aiter__(self) -> AsyncIterator[EmotionEvent]:
        """Yield each event without blocking the event loop; raises as ``wait`` when the sources have ended."""
        while (event := await self._events.take_async()) is not None:
            yield event
        self.wait()

    def _run(self) -> None:
        try:
            self._failure = self._loop.run()
        except Exception as error:  # noqa: BLE001 - raised by wait
            self._failure = error
        self._ended.set()
        self._events.end()


class _Callback(ClosingSink):
    """Passes events to a function."""

    def __init__(self, on_event: Callable[[EmotionEvent], None]) -> None:
        self._on_event = on_event

    def emit(self, event: EmotionEvent) -> None:
        self._on_event(event)


class _EventQueue(ClosingSink):
    """Events that wait for a thread or for a coroutine, of which the oldest are dropped."""

    def __init__(self) -> None:
        self.dropped = 0
        self._events: deque[EmotionEvent] = deque()
        self._ended = False
        self._changed = threading.Condition()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def emit(self, event: EmotionEvent) -> None:
        with self._changed:
            if len(self._events) == _MAX_QUEUED_EVENTS:
                self._events.popleft()
                self.dropped += 1
            self._events.append(event)
            self._wake()

    def end(self) -> None:
        """Wake up all waiting callers; they return without an event."""
        with self._changed:
            self._ended = True
            self._wake()

    def take(self) -> EmotionEvent | None:
        """Return the next event, None after the last."""
        with self._changed:
            self._changed.wait_for(lambda: self._events or self._ended)
            return self._events.popleft() if self._events else None

    async def take_async(self) -> EmotionEvent | None:
        """Return the next event, None after the last."""
        loop = asyncio.get_running_loop()
        while True:
            with self._changed:
                if self._events:
                    return self._events.popleft()
                if self._ended:
                    return None
                changed = asyncio.Event()
                self._waiting.append((loop, changed))
            await changed.wait()

    def _wake(self) -> None:
        self._changed.notify_all()
        for loop, changed in self._waiting:
            with suppress(RuntimeError):  # its loop was closed
                loop.call_soon_threadsafe(changed.set)
        self._waiting.clear()
