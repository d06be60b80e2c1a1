"""The process of the live window: shows the pictures that it reads from standard input.

Tk runs in a separate process because Xlib ends the process if the display goes away, and a slow display blocks it.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tkinter

READY = "ready"
"""First word of the line on standard output once the window is open; the screen's width and height in pixels follow.
Any other line is the reason why the window cannot be opened."""
LENGTH_BYTES = 4
"""Each picture is its length, big-endian, and a PPM file (P6)."""


def main() -> int:
    """Show pictures until the window is closed or standard input ends. Return 1 if it cannot be opened."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the run, which then closes standard input
    try:
        import tkinter
    except ImportError:
        sys.stdout.write("this Python has no tkinter; on Debian: sudo apt install python3-tk\n")
        return 1
    try:
        root = tkinter.Tk(className="fer-edge")
    except tkinter.TclError as error:
        how = "run it in a desktop session, or use the status page with web.preview"
        sys.stdout.write(f"there is no display: {error}; {how}\n")
        return 1
    root.title("FER-Edge: q or Esc ends the run")
    root.resizable(False, False)
    label = tkinter.Label(root, text="Waiting for the first picture", padx=60, pady=40, borderwidth=0)
    label.pack()
    for key in ("q", "Q", "<Escape>"):
        root.bind(key, lambda _: root.destroy())
    # The file handler reads the descriptor itself: a buffer could hold a picture that no event announces.
    root.createfilehandler(0, tkinter.READABLE, lambda *_: _show(root, label))
    sys.stdout.write(f"{READY} {root.winfo_screenwidth()} {root.winfo_screenheight()}\n")
    sys.stdout.flush()
    root.mainloop()
    return 0


def _show(root: tkinter.Tk, label: tkinter.Label) -> None:
    """Show the next picture, or end with standard input."""
    import tkinter

    header = _read(LENGTH_BYTES)
    data = _read(int.from_bytes(header, "big")) if header else b""
    if not data:
        root.destroy()
        return
    image = tkinter.PhotoImage(master=root, data=data, format="ppm")
    label.configure(image=image, padx=0, pady=0)
    label.image = image  # type: ignore[attr-defined]  # Tk itself holds no reference


def _read(count: int) -> bytes:
    """Return ``count`` bytes of standard input, or none if it ends before."""
    parts: list[bytes] = []
    while count:
        part = os.read(0, count)
        if not part:
            return b""
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


if __name__ == "__main__":
    sys.exit(main())
