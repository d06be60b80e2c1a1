"""GStreamer's RTSP server on loopback, under the system's own Python, which has its bindings.

Run as a program, with the port or 0, it prints the port and serves ``/live``, with a password if one is given.
Imported, it starts itself in a process that a test may suspend or kill. Debian: see ``PACKAGES``.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

PACKAGES = (
    "gir1.2-gst-rtsp-server-1.0, python3-gi, gstreamer1.0-plugins-base, gstreamer1.0-plugins-good,"
    " gstreamer1.0-plugins-ugly"
)
USER, PASSWORD = "viewer", "pass-7+word"
_SYSTEM_PYTHON = "/usr/bin/python3"
_PICTURES = (
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=320,height=240,framerate=30/1"
    " ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! rtph264pay name=pay0 pt=96 )"
)


def why_missing() -> str | None:
    """Return what to install if the server cannot run; None if it can."""
    look = (
        "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst, GstRtspServer;"
        " Gst.init(None); raise SystemExit(not all(map(Gst.ElementFactory.find, ('videotestsrc', 'x264enc',"
        " 'rtph264pay'))))"
    )
    try:
        found = subprocess.run([_SYSTEM_PYTHON, "-c", look], capture_output=True, check=False).returncode == 0
    except OSError:
        found = False
    return None if found else f"an RTSP server needs {PACKAGES}"


@contextlib.contextmanager
def rtsp_server(*, password: bool = False, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The server's process and port (0 takes a free one); it is killed at the end of the block."""
    command = [_SYSTEM_PYTHON, __file__, str(port), *([f"{USER}:{PASSWORD}"] if password else [])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def _serve(port: str, login: str | None) -> None:
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtsp, GstRtspServer

    Gst.init(None)
    server = GstRtspServer.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory.new()
    factory.set_launch(_PICTURES)
    factory.set_shared(True)
    if login is not None:
        user, _, password = login.partition(":")
        auth = GstRtspServer.RTSPAuth.new()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", user)
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(user, password, token)
        server.set_auth(auth)
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role(user, "media.factory.access", True)
        permissions.add_permission_for_role(user, "media.factory.construct", True)
        factory.set_permissions(permissions)
    server.get_mount_points().add_factory("/live", factory)
    server.attach(None)
    sys.stdout.write(f"{server.get_bound_port()}\n")
    sys.stdout.flush()
    GLib.MainLoop().run()


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
