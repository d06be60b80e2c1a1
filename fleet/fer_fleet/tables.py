"""The tables of a fleet, in the schema ``fleet``.

``events`` is partitioned by the day of receipt, not by the device's clock, which may be years off. The day follows from
``segments``: a session's numbers from ``first`` on belong to ``day``, up to the next segment. It never changes for a
number, so that an event that arrives again, even a month later, meets the unique key of its partition.
``sessions.last`` is the highest number received, ``stored`` how many are in ``events`` or were. ``states`` has
the newest state of each device.
"""

from __future__ import annotations

TABLES = """
CREATE SCHEMA IF NOT EXISTS fleet;
CREATE TABLE IF NOT EXISTS fleet.devices (
    device text PRIMARY KEY,
    online boolean,
    description jsonb,
    seen timestamptz
);
CREATE TABLE IF NOT EXISTS fleet.states (
    device text PRIMARY KEY,
    received timestamptz NOT NULL,
    fps real NOT NULL,
    temperature real,
    throttled text NOT NULL
);
CREATE TABLE IF NOT EXISTS fleet.sessions (
    device text,
    session text,
    last bigint NOT NULL DEFAULT 0,
    stored bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (device, session)
);
CREATE TABLE IF NOT EXISTS fleet.segments (
    device text,
    session text,
    day date,
    first bigint NOT NULL,
    PRIMARY KEY (device, session, day)
);
CREATE TABLE IF NOT EXISTS fleet.rejected (
    device text,
    reason text,
    messages bigint NOT NULL,
    last timestamptz NOT NULL,
    PRIMARY KEY (device, reason)
);
CREATE TABLE IF NOT EXISTS fleet.events (
    day date,
    device text,
    session text,
    sequence bigint,
    received timestamptz NOT NULL,
    at timestamptz NOT NULL,
    clock_synced boolean,
    mono double precision NOT NULL,
    kind text NOT NULL,
    source text NOT NULL,
    track bigint,
    emotion text,
    previous text,
    confidence double precision,
    zone text,
    faces bigint,
    valence double precision,
    arousal double precision,
    reason text,
    counts jsonb,
    PRIMARY KEY (day, device, session, sequence)
) PARTITION BY RANGE (day);
CREATE INDEX IF NOT EXISTS events_received ON fleet.events USING brin (received);
CREATE MATERIALIZED VIEW IF NOT EXISTS fleet.hourly AS
    SELECT date_trunc('hour', received, 'UTC') AS hour, device, source, kind, coalesce(emotion, '') AS emotion,
        count(*) AS events, sum((counts->>'appeared')::numeric) AS appeared
    FROM fleet.events GROUP BY 1, 2, 3, 4, 5;
CREATE UNIQUE INDEX IF NOT EXISTS hourly_key ON fleet.hourly (hour, device, source, kind, emotion);
"""

COLUMNS = (
    "device", "session", "sequence", "received", "at", "clock_synced", "mono", "kind", "source", "track", "emotion",
    "previous", "confidence", "zone", "faces", "valence", "arousal", "reason", "counts",
)  # fmt: skip
"""Of an event; ``day`` is added when it is stored."""

INCOMING = """
CREATE TEMPORARY TABLE incoming ON COMMIT DELETE ROWS AS SELECT * FROM fleet.events WITH NO DATA
"""

ADD_SESSIONS = """
INSERT INTO fleet.sessions (device, session)
    SELECT DISTINCT device, session FROM incoming ORDER BY device, session
    ON CONFLICT DO NOTHING
"""

LOCK_SESSIONS = """
SELECT FROM fleet.sessions WHERE (device, session) IN (SELECT device, session FROM incoming)
    ORDER BY device, session FOR UPDATE
"""

# Never a day before the session's newest, even if the clock was set back: numbers and days must rise together.
ADD_SEGMENTS = """
INSERT INTO fleet.segments (device, session, day, first)
    SELECT device, session,
        greatest(%s::date, (SELECT max(day) FROM fleet.segments g WHERE (g.device, g.session) = (s.device, s.session))),
        last + 1
    FROM fleet.sessions s JOIN (SELECT device, session, max(sequence) AS highest FROM incoming GROUP BY 1, 2) AS new
        USING (device, session)
    WHERE highest > last
    ON CONFLICT DO NOTHING
    RETURNING day
"""

SET_DAYS = """
UPDATE incoming i SET day = (
    SELECT day FROM fleet.segments g
    WHERE (g.device, g.session) = (i.device, i.session) AND g.first <= i.sequence ORDER BY g.first DESC LIMIT 1
)
"""

STORE = f"""
WITH stored AS (
    INSERT INTO fleet.events (day, {", ".join(COLUMNS)})
        SELECT day, {", ".join(COLUMNS)} FROM incoming WHERE day IS NOT NULL
        ON CONFLICT DO NOTHING RETURNING device, session
)
UPDATE fleet.sessions s SET last = greatest(last, highest), stored = s.stored + new.stored
    FROM (
        SELECT device, session, highest, coalesce(number, 0) AS stored
        FROM (SELECT device, session, max(sequence) AS highest FROM incoming GROUP BY 1, 2) AS i
        LEFT JOIN (SELECT device, session, count(*) AS number FROM stored GROUP BY 1, 2) AS t USING (device, session)
    ) AS new
    WHERE (s.device, s.session) = (new.device, new.session)
    RETURNING new.stored
"""

# An event that arrives again is equal. If it is not, two programs use the session.
USED_TWICE = """
SELECT device, max(i.received), count(*) FROM incoming i JOIN fleet.events e USING (day, device, session, sequence)
    WHERE (e.at, e.mono, e.kind, e.source, e.track) IS DISTINCT FROM (i.at, i.mono, i.kind, i.source, i.track)
    GROUP BY device ORDER BY device
"""

EXPIRED = "SELECT device, max(received), count(*) FROM incoming WHERE day IS NULL GROUP BY device ORDER BY device"

ADD_REJECTED = """
INSERT INTO fleet.rejected AS r (device, reason, messages, last)
    SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::timestamptz[])
    ON CONFLICT (device, reason) DO UPDATE SET messages = r.messages + excluded.messages, last = excluded.last
"""

SET_DEVICES = """
INSERT INTO fleet.devices AS d (device, online, description, seen)
    SELECT * FROM unnest(%s::text[], %s::boolean[], %s::jsonb[], %s::timestamptz[])
    ON CONFLICT (device) DO UPDATE SET online = coalesce(excluded.online, d.online),
        description = coalesce(excluded.description, d.description), seen = greatest(d.seen, excluded.seen)
"""

SET_STATES = """
INSERT INTO fleet.states (device, received, fps, temperature, throttled)
    SELECT * FROM unnest(%s::text[], %s::timestamptz[], %s::real[], %s::real[], %s::text[])
    ON CONFLICT (device) DO UPDATE SET received = excluded.received, fps = excluded.fps,
        temperature = excluded.temperature, throttled = excluded.throttled
"""

PARTITIONS = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'fleet.events'::regclass ORDER BY 1
"""
