"""A worker of a search that trains nothing, for tests that kill it (``test_tune_workers.py``).

It prints each trial's number at its start; the worker "hangs" then waits to be killed. Its heartbeat is faster than the
product's, so that tests need not wait a minute for a killed worker.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from fer_train.tuning import storage

storage.HEARTBEAT_S, storage.GRACE_S = 1, 5  # before other modules import them

from fer_train.tuning.settings import from_table  # noqa: E402
from fer_train.tuning.worker import Objective, run_trials  # noqa: E402


class Untrained(Objective):
    """An objective that reports one epoch."""

    def train(self, trial: Any, number: int, recipe: Any) -> float:
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        if self.worker == "hangs":
            sys.stdin.read()
        time.sleep(0.2)
        trial.report(number / 100, step=1)
        return number / 100


if __name__ == "__main__":
    out, url, name, table, *study_name = sys.argv[1:]
    location = storage.StudyLocation(Path(out), url or None, *study_name)
    search = from_table(json.loads(table), "test")
    nothing: Any = None
    run_trials(Untrained(storage.open_study(location), search, nothing, None, location, name))
