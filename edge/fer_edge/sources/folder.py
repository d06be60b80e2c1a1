"""One image, or a folder of images, as a source: one frame for each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fer_edge.images.files import is_image_file, list_images, read_gray
from fer_edge.protocols import ClosingSource, NoFrame
from fer_edge.settings.runtime import SourceSettings
from fer_edge.sources.base import DEFAULT_FPS
from fer_edge.types import Frame


def open_images(uri: str, settings: SourceSettings, name: str) -> ImageSource | None:
    """The image or folder at ``uri``, or None when it is neither. Raises InputError for a folder without images."""
    path = Path(uri)
    if path.is_dir():
        return ImageSource(list_images(path), settings, name)
    return ImageSource([path], settings, name) if is_image_file(path) else None


class ImageSource(ClosingSource):
    """Images in the given order, ``1 / fps`` seconds apart (``settings.fps``, else ``DEFAULT_FPS``); one is a still."""

    live = False
    dropped = 0

    def __init__(self, paths: Sequence[Path], settings: SourceSettings, name: str) -> None:
        self.name = name
        self.fps = settings.fps or DEFAULT_FPS
        self.still = len(paths) == 1
        self._paths = list(paths)
        self._index = 0

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """The next image; raises InputError, naming the file, when it cannot be read."""
        if self._index >= len(self._paths):
            return NoFrame.ENDED
        gray = read_gray(self._paths[self._index])
        frame = Frame(self.name, self._index, self._index / self.fps, gray)
        self._index += 1
        return frame
