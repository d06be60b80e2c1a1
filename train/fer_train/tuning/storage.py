"""Optuna's storage of a search: an SQLite file for one machine, or PostgreSQL for several."""

from __future__ import annotations

import contextlib
import importlib
import json
import sqlite3
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_edge.errors import ConfigError, FerEdgeError, InputError, MissingExtraError, OutputError, reason_of
from fer_edge.system.files import atomic_path
from fer_train.training.run_folder.files import STUDY
from fer_train.tuning.settings import Search, from_table

FORMAT = 1
"""Version of the study's attribute ``search`` and of its trials' attributes."""
HEARTBEAT_S, GRACE_S = 5, 60
"""Seconds between heartbeats, and seconds without one after which a worker counts as dead: longer than a backend
holds Python's global lock."""
MAX_RETRIES = 2
"""After that, its process has died three times (memory, a crash of the backend), and the trial has failed."""
_MAY_CHANGE = ("tune.trials", "tune.keep")
"""Settings that may differ between the study and a resumed search: they affect neither a trial nor the comparison."""
_BUSY_S = 120.0
"""Seconds to wait for other writers; SQLite's default of 5 s is too short on a slow disk."""


@dataclass(frozen=True, slots=True)
class StudyLocation:
    """Where a study is kept: ``study.db`` in the folder ``out``, or the PostgreSQL database ``url``."""

    out: Path
    url: str | None = None
    study_name: str = "fer-edge"

    @property
    def path(self) -> Path:
        """The SQLite file, for a study without ``url``."""
        return self.out / STUDY

    def __str__(self) -> str:
        """Return the name for messages: the file, or the URL without its password."""
        if self.url is None:
            return str(self.path)
        from sqlalchemy.engine import make_url

        return make_url(self.url).render_as_string(hide_password=True)


def postgresql_location(out: Path, url: str, recipe_name: str) -> StudyLocation:
    """Return the location for ``--storage``. Raises ConfigError for another URL, MissingExtraError without psycopg."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or parsed.drivername != "postgresql" or not parsed.database:
        raise ConfigError("--storage: must be postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    try:
        importlib.import_module("psycopg")
    except ImportError as error:
        raise MissingExtraError("psycopg", "tune-postgresql") from error
    # For a URL without a driver, SQLAlchemy before 2.1 uses psycopg2.
    full = parsed.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
    return StudyLocation(out, full, f"fer-edge {recipe_name}")


def create_study(location: StudyLocation, search: Search, rows_sha256: str) -> None:
    """Create the study unless it exists. Raises OutputError if it cannot be written."""
    if location.url is not None:
        _create(_storage(location), location, search, rows_sha256)
        return
    with atomic_path(location.path) as temporary:
        storage = _storage(location, temporary)
        _create(storage, location, search, rows_sha256)
        storage.remove_session()
        storage.engine.dispose()


def study_exists(location: StudyLocation) -> bool:
    """Return whether the study exists. Raises OutputError if the database cannot be reached."""
    import optuna

    if location.url is None:
        return location.path.exists()
    with storage_errors(location):
        return location.study_name in optuna.get_all_study_names(_storage(location))


def open_study(location: StudyLocation) -> Any:
    """Return the ``optuna.Study``. Raises InputError if the file or database has no complete study of fer-edge."""
    import optuna

    if location.url is None:
        _check_file(location)
    with storage_errors(location):
        try:
            return optuna.load_study(study_name=location.study_name, storage=_storage(location))
        except (KeyError, RuntimeError) as error:  # not there, or tables of another Optuna version
            raise InputError(
                f"{location}: holds no study of fer-edge: {reason_of(error)}; choose another --out"
            ) from None


def check_same_search(location: StudyLocation, study: Any, search: Search, rows_sha256: str) -> None:
    """Raise ConfigError with the differences if ``study`` has other ranges, settings or data."""
    with storage_errors(location):
        theirs = study.user_attrs.get("search")
    if not isinstance(theirs, Mapping) or theirs.get("format") != FORMAT:
        raise ConfigError(f"{location}: a study of another version of fer-edge; choose another --out")
    # Keys that are newer than the study get their defaults; a key that was removed since is reported as different.
    with contextlib.suppress(ConfigError):
        table = {key: value for key, value in theirs.items() if key not in ("format", "rows_sha256")}
        theirs = _identity(from_table(table, str(location)), theirs.get("rows_sha256", ""))
    ours, theirs = _flat(_identity(search, rows_sha256)), _flat(theirs)
    differing = [
        f"{key} is {_shown(ours, key)} here, {_shown(theirs, key)} there"
        for key in sorted({*ours, *theirs} - set(_MAY_CHANGE))
        if ours.get(key) != theirs.get(key)
    ]
    if differing:
        more = f" (and {len(differing) - 3} more)" if len(differing) > 3 else ""
        raise ConfigError(
            f"{location}: a study of another search: {'; '.join(differing[:3])}{more}; choose another --out"
        )


@contextlib.contextmanager
def storage_errors(location: StudyLocation) -> Iterator[None]:
    """Convert exceptions of the database and Optuna to one-line errors that say what to do."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except FerEdgeError:
        raise
    except (StorageInternalError, SQLAlchemyError, sqlite3.Error) as error:
        raise _storage_error(location, error) from error


def _storage_error(location: StudyLocation, error: BaseException) -> FerEdgeError:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, sqlite3.Error):
        cause = getattr(cause, "orig", None) or cause.__cause__
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF  # without the extended code, whose meaning the text contains
    reason = " ".join(reason_of(cause or getattr(error, "orig", None) or error).split())
    if code == sqlite3.SQLITE_BUSY:
        return OutputError(f"{location}: locked by another program; stop that and continue with --resume")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return InputError(
            f"{location}: damaged, or not a study ({reason}); restore a copy of it, or choose another --out"
        )
    if location.url is not None:
        return OutputError(
            f"{location}: cannot use the database ({reason}); check the server and continue with --resume"
        )
    return OutputError(f"{location}: cannot use it ({reason}); check space and permissions and continue with --resume")


def _check_file(location: StudyLocation) -> None:
    """Refuse a file that SQLite would open as an empty database, and a truncated one."""
    path = location.path
    if not path.is_file() or not path.stat().st_size:
        what = "empty" if path.is_file() else "missing" if not path.exists() else "not a file"
        raise InputError(f"{location}: is {what}; restore a copy of the study, or choose another --out")
    with storage_errors(location), contextlib.closing(sqlite3.connect(path, timeout=_BUSY_S)) as connection:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != ("ok",):
            raise InputError(f"{location}: damaged ({found[0]}); restore a copy of it, or choose another --out")
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if not {"studies", "trials", "version_info"} <= tables:  # Optuna would add what is missing
            raise InputError(f"{location}: a database without an Optuna study; choose another --out")


def _create(storage: Any, location: StudyLocation, search: Search, rows_sha256: str) -> None:
    import optuna

    directions = optuna.study.StudyDirection
    direction = directions.MAXIMIZE if search.settings.metric == "accuracy" else directions.MINIMIZE
    with storage_errors(location):
        study = optuna.create_study(
            storage=storage, study_name=location.study_name, direction=direction, load_if_exists=True
        )
        if "search" not in study.user_attrs:
            study.set_user_attr("search", _identity(search, rows_sha256))


def _storage(location: StudyLocation, path: Path | None = None) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    # The heartbeat is marked experimental.
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings("ignore", module="optuna")

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(path or location.path, timeout=_BUSY_S, check_same_thread=False)

    with storage_errors(location):
        return optuna.storages.RDBStorage(
            # A placeholder: ``connect`` opens the real path, which may contain characters that are special in a URL.
            location.url or "sqlite:///study.db",
            engine_kwargs={"pool_pre_ping": True} if location.url else {"creator": connect},
            heartbeat_interval=HEARTBEAT_S,
            grace_period=GRACE_S,
            heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=MAX_RETRIES),
        )


def _identity(search: Search, rows_sha256: str) -> dict[str, Any]:
    return {"format": FORMAT, "rows_sha256": rows_sha256, **json.loads(json.dumps(search.to_table()))}


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return every value by its path; for a range, the path ends with the range's key."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{path}.")
        else:
            flat[path] = value
    return flat


def _shown(flat: Mapping[str, Any], key: str) -> str:
    return json.dumps(flat[key])[:60] if key in flat else "unset"
