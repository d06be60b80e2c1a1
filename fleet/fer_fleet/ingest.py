"""Store what devices publish: receive, store in a transaction, acknowledge."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import psycopg

from fer_edge.errors import OutputError, reason_of
from fer_edge.system.messages import print_message
from fer_edge.system.timing import Backoff
from fer_fleet.connection import database_error
from fer_fleet.database import Database, first_day_kept, refresh_hourly, utc_today
from fer_fleet.inbox import Broker, Inbox, Received
from fer_fleet.messages import Message, Rejected, parse, split_topic
from fer_fleet.rate_limit import REASON, RateLimit

_MAX_BATCH, _MAX_WAIT_S = 1000, 0.5
_MAX_RETRY_S = 30.0
_DELETE_EVERY_S = 3600.0
_REFRESH_EVERY_S = 300.0


class Ingest:
    """The consumer: from ``broker`` into the database ``url``.

    Raises:
        OutputError: if the database cannot be used.
    """

    def __init__(
        self, url: str, broker: Broker, topic: str, *, max_rate: float, keep_days: int | None, stop: threading.Event
    ) -> None:
        self._url, self._broker, self._topic = url, broker, topic
        self._keep_days, self._stop = keep_days, stop
        self._limit = RateLimit(max_rate)
        self._delete_at = 0.0
        try:
            self._database: Database | None = Database(url)
        except psycopg.Error as error:
            raise database_error(error) from None

    def run(self) -> None:
        """Work until ``stop`` is set. An outage of the database or the broker is waited for."""
        inbox = Inbox(self._broker, self._topic)
        refresher = threading.Thread(target=self._refresh, daemon=True)
        refresher.start()
        try:
            while not self._stop.is_set():
                received = inbox.take(_MAX_BATCH, _MAX_WAIT_S)
                if received:
                    if not self._store([self._parsed(one) for one in received if not self._is_outdated(one)]):
                        return
                    inbox.acknowledge(received)
                self._delete_old()
        finally:
            inbox.close()
            self._close()

    def _is_outdated(self, one: Received) -> bool:
        """Return whether ``one`` says who is online, and was sent before: a newer one may have come since.

        If none has, the broker has it retained, and sends it when this program subscribes again.
        """
        return one.repeated and split_topic(one.topic, self._topic)[1] == ["availability"]

    def _parsed(self, one: Received) -> Message:
        device, levels = split_topic(one.topic, self._topic)
        # Not of availability: the newest message says whether the device is online, and all of a batch are one row.
        if levels != ["availability"] and not self._limit.allows(device, len(one.payload), time.monotonic()):
            return Rejected(device, one.at, REASON)
        return parse(one.topic, one.payload, one.at, base=self._topic, live=not one.retained)

    def _store(self, messages: Sequence[Message]) -> bool:
        """Store ``messages``, however long the database is out; false if ``stop`` was set before."""
        backoff, said = Backoff(1.0, _MAX_RETRY_S), False
        while True:
            try:
                if self._database is None:
                    self._database = Database(self._url)
                self._database.store(messages, utc_today())
            except (psycopg.Error, OutputError) as error:
                self._close()
                if not said:
                    print_message(f"cannot store events, trying again: {reason_of(error)}")
                    said = True
                if self._stop.wait(backoff.take()):
                    return False
            else:
                if said:
                    print_message("events are stored again")
                return True

    def _delete_old(self) -> None:
        if self._keep_days is None or self._database is None or time.monotonic() < self._delete_at:
            return
        self._delete_at = time.monotonic() + _DELETE_EVERY_S
        try:
            self._database.delete_before(first_day_kept(self._keep_days))
        except psycopg.Error as error:
            print_message(f"cannot delete old events, trying again in an hour: {reason_of(error)}")
            self._close()

    def _refresh(self) -> None:
        while not self._stop.wait(_REFRESH_EVERY_S):
            try:
                refresh_hourly(self._url)
            except psycopg.Error as error:
                print_message(f"cannot refresh the aggregates by hour: {reason_of(error)}")

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None
