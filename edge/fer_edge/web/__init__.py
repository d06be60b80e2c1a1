"""Status page and monitoring endpoints: /metrics, /healthz and /readyz. Needs the extra ``web``."""

from fer_edge.web.health import stale_after
from fer_edge.web.history import History
from fer_edge.web.previews import Previews
from fer_edge.web.server import WebServer, open_web

__all__ = ["History", "Previews", "WebServer", "open_web", "stale_after"]
