"""PyAV and OpenCV decode the same pictures and times from the same files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge import Frame, NoFrame, open_source
from fer_edge.errors import InputError, MissingExtraError
from fer_edge.settings.source import SourceSettings
from fer_edge.sources.decoders import pyav
from fer_edge.types import UInt8Array
from support.processes.edge_command import assert_one_line, demo_pixels, fer_edge, write_video

av = pytest.importorskip("av", reason="PyAV, the extra video, is not installed")


def write_film(path: Path, pictures: list[UInt8Array], codec: str, pix_fmt: str, **options: str) -> Path:
    """Write grey pictures [H, W] or BGR [H, W, 3] as a film of 10 pictures a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=options)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pix_fmt
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(picture, format="gray" if picture.ndim == 2 else "bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def frames_of(path: Path, decoder: str) -> list[Frame]:
    frames = []
    with open_source(path, SourceSettings(decoder=decoder)) as source:  # type: ignore[arg-type]
        source.keep_colour = True
        while (frame := source.read(1.0)) is not NoFrame.ENDED:
            assert isinstance(frame, Frame)
            frames.append(frame)
    return frames


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("h264.mp4", "libx264", "yuv420p"),
        ("h264.mkv", "libx264", "yuv444p"),
        ("full-range.mp4", "libx264", "yuvj420p"),
        ("mpeg4.avi", "mpeg4", "yuv420p"),
        ("mjpeg.avi", "mjpeg", "yuvj422p"),
        ("vp9.webm", "libvpx-vp9", "yuv420p"),
        ("ten-bits.mkv", "libx264", "yuv420p10le"),
        ("lossless.mkv", "ffv1", "bgr0"),
        ("gray.mkv", "ffv1", "gray"),
        ("animation.gif", "gif", "rgb8"),
    ],
)
def test_the_pictures_and_times_are_the_same(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    pictures = [picture[100:340, 100:420] for picture in demo_pixels(40)[30:]]
    path = write_film(tmp_path / name, pictures, codec, pix_fmt)
    by_opencv, by_pyav = frames_of(path, "opencv"), frames_of(path, "pyav")
    assert len(by_pyav) == len(by_opencv) == 10
    assert [frame.captured_at for frame in by_pyav] == pytest.approx([frame.captured_at for frame in by_opencv])
    for one, other in zip(by_opencv, by_pyav, strict=True):
        difference = np.abs(one.gray.astype(int) - other.gray)
        assert difference.mean() < 1 and difference.max() <= 4
        if one.bgr is not None and other.bgr is not None:
            assert np.abs(one.bgr.astype(int) - other.bgr).mean() < 2
    assert (by_pyav[0].bgr is None) == (pix_fmt == "gray")


def test_a_film_of_a_phone_is_turned(tmp_path: Path) -> None:
    picture = np.zeros((48, 96, 3), np.uint8)
    picture[:, :48] = 255
    path = tmp_path / "turned.mp4"
    write_film(path, [picture] * 5, "libx264", "yuv420p")
    data = bytearray(path.read_bytes())
    unit, one = (1 << 16).to_bytes(4, "big"), bytes(4)
    identity = unit + one * 3 + unit + one * 3 + (1 << 30).to_bytes(4, "big")
    at = data.rindex(identity)  # the matrix of the track header (ISO/IEC 14496-12, 8.3.2); a quarter turn clockwise
    data[at : at + 36] = one + unit + one + (-(1 << 16)).to_bytes(4, "big", signed=True) + one * 4 + identity[-4:]
    path.write_bytes(data)
    for decoder in ("opencv", "pyav"):
        frame = frames_of(path, decoder)[0]
        assert frame.gray.shape == (96, 48) and frame.bgr is not None and frame.bgr.shape == (96, 48, 3)
        assert frame.gray[:40].mean() > 200, decoder
        assert frame.gray[56:].mean() < 50, decoder


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_damaged_film_is_refused_or_read_to_where_it_is_damaged(tmp_path: Path, share: float) -> None:
    path = write_video(tmp_path / "film.avi", 30)
    data = bytearray(path.read_bytes())
    at = int(len(data) * share)
    data[at : at + 2000] = np.random.default_rng(1).integers(0, 256, 2000, np.uint8).tobytes()
    path.write_bytes(data)
    for decoder in ("opencv", "pyav"):
        try:
            assert len(frames_of(path, decoder)) >= 15
        except InputError as error:
            assert "film.avi" in str(error)


def test_a_sound_file_is_not_a_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    for decoder in ("opencv", "pyav"):
        with pytest.raises(InputError, match="not a readable video"):
            frames_of(tmp_path / "sound.wav", decoder)


def test_max_pixels_holds_before_a_picture_is_decoded(tmp_path: Path) -> None:
    large = cv2.imencode(".jpg", np.zeros((2000, 2000), np.uint8))[1].tobytes()
    small = cv2.imencode(".jpg", np.zeros((48, 64), np.uint8))[1].tobytes()
    (tmp_path / "grows.mjpeg").write_bytes(small * 5 + large)
    settings = SourceSettings(decoder="pyav", max_pixels=64 * 48)
    with open_source(tmp_path / "grows.mjpeg", settings) as source:
        sizes = set()
        while (frame := source.read(1.0)) is not NoFrame.ENDED:
            assert isinstance(frame, Frame)
            sizes.add(frame.gray.shape)
    assert sizes == {(48, 64)}


def test_a_decoder_that_is_not_there_is_refused(
    tiny_bundle: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fer_edge.system.extras._MODULES", {"video": ("no_such_module",)})
    monkeypatch.setattr("fer_edge.system.extras._PACKAGES", {"no_such_module": "av"})
    with pytest.raises(MissingExtraError, match=r"av is not installed: .*\[video\]"):
        open_source(clip, SourceSettings(decoder="pyav"))
    with open_source(clip) as source:  # falls back
        assert isinstance(source.read(1.0), Frame)
    (tmp_path / "c.toml").write_text('[source]\ndecoder = "ffmpeg"\n')
    result = fer_edge("run", clip, "--config", "c.toml", "--bundle", tiny_bundle, cwd=tmp_path)
    assert_one_line(result, 2, "source.decoder must be one of 'auto', 'opencv', 'pyav', not 'ffmpeg'")


def test_the_choice() -> None:
    assert pyav.choose_pyav("auto") and pyav.choose_pyav("pyav") and not pyav.choose_pyav("opencv")
