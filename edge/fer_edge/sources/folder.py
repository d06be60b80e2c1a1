"""An image file or a folder of images as a source: one frame for each image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fer_edge.images.files import is_image_file, list_images, read_gray, read_gray_and_colour
from fer_edge.protocols import NoFrame
from fer_edge.settings.source import SourceSettings
from fer_edge.sources.base import DEFAULT_FPS, NumberedSource
from fer_edge.types import Frame


def open_images(uri: str, settings: SourceSettings, name: str) -> ImageSource | None:
    """Return the image or folder at ``uri``, or None if it is neither.

    Raises:
        InputError: if the folder has no images.
    """
    path = Path(uri)
    if path.is_dir():
        return ImageSource(list_images(path), settings, name)
    return ImageSource([path], settings, name) if is_image_file(path) else None


class ImageSource(NumberedSource):
    """Images in the given order, ``1 / fps`` seconds apart (``settings.fps``, else ``DEFAULT_FPS``).

    A single image is ``still``.
    """

    live = False

    def __init__(self, paths: Sequence[Path], settings: SourceSettings, name: str) -> None:
        self.name = name
        self.fps = settings.fps or DEFAULT_FPS
        self.still = len(paths) == 1
        self.frame_count = len(paths)
        self._paths, self._max_pixels = list(paths), settings.max_pixels

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """Return the next image, or ENDED.

        Raises:
            InputError: if the image cannot be read; the message names the file.
        """
        if self._index >= len(self._paths):
            return NoFrame.ENDED
        path = self._paths[self._index]
        if self.keep_colour:
            return self._frame(self._index / self.fps, *read_gray_and_colour(path, self._max_pixels))
        return self._frame(self._index / self.fps, read_gray(path, self._max_pixels))
