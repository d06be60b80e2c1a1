"""Good inputs from which the fuzzers start, made from the project's own files."""

from __future__ import annotations

import io
import struct
import zipfile

import cv2
import numpy as np

from fer_edge.model.bundle import DEFAULT_BUNDLE
from fuzz import targets
from fuzz.targets import Target
from support.cards.images import partition_table
from support.environments.fresh_install import CHECKOUT
from support.processes.edge_command import face_picture


def _configs() -> list[bytes]:
    whole = (CHECKOUT / "edge" / "config.example.toml").read_text()
    plain = "".join(f"{line}\n" for line in whole.splitlines() if not line.startswith("#"))
    cameras = '[source]\nuris = ["door=rtsp://u:p@h/x"]\n[cameras.door]\nrotate = 90\nmask = [[0, 0, 0.5, 1]]\n'
    return [plain.encode(), cameras.encode(), b"[emotion]\nenter = 0.6\nexit = 0.5\n"]


def _recipes() -> list[bytes]:
    return [path.read_bytes() for path in sorted((CHECKOUT / "train" / "configs").glob("*.toml"))[:6]]


def _manifests() -> list[bytes]:
    return [(DEFAULT_BUNDLE / "manifest.json").read_bytes()]


def _zips() -> list[bytes]:
    made = []
    for prefix, method in (("", zipfile.ZIP_STORED), ("b/", zipfile.ZIP_DEFLATED)):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", method) as archive:
            archive.writestr(f"{prefix}manifest.json", (DEFAULT_BUNDLE / "manifest.json").read_bytes())
            archive.writestr(f"{prefix}int8.tflite", b"TFL3" * 50)
        made.append(stream.getvalue())
    return made


def _models() -> list[bytes]:
    return [next(DEFAULT_BUNDLE.glob("*.tflite")).read_bytes()[:60_000]]


def _pictures() -> list[bytes]:
    small = cv2.resize(face_picture(), (64, 48))
    colour = np.repeat(small[:, :, None], 3, axis=2)
    kinds = (".jpg", ".png", ".bmp", ".pgm", ".ppm", ".webp", ".tiff")
    return [cv2.imencode(kind, colour if kind == ".ppm" else small)[1].tobytes() for kind in kinds]


def _streams() -> list[bytes]:
    jpeg = cv2.imencode(".jpg", cv2.resize(face_picture(), (64, 48)))[1].tobytes()
    head = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"
    part = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(jpeg), jpeg)
    bare = b"--frame\r\nContent-Type: image/jpeg\r\n\r\n%s\r\n" % jpeg
    return [head + part * 3, head + bare * 3]


def _events() -> list[bytes]:
    return [struct.pack("<dddi", 1.7e9, 12.5, 0.8, 3) + "door ü\n".encode()]


def _requests() -> list[bytes]:
    return [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /preview/door.jpg?1 HTTP/1.1\r\nHost: localhost:80\r\nCookie: a=b\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: 7\r\n\r\ntoken=x",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n7\r\ntoken=x\r\n0\r\n\r\n",
    ]


def _tables() -> list[bytes]:
    mbr = partition_table([(1, 8), (9, 16)])
    gpt = bytearray(64 * 512)
    gpt[:512] = partition_table([(1, 62)])
    gpt[450] = 0xEE
    gpt[512:520] = b"EFI PART"
    struct.pack_into("<IIIIQQQQ16sQIII", gpt, 520, 0x10000, 92, 0, 0, 1, 63, 34, 62, b"d" * 16, 2, 4, 128, 0)
    return [bytes(mbr) + bytes(32 * 512), bytes(gpt)]


def all_targets() -> list[Target]:
    """Return every target, in the order of the documentation."""
    check = targets.refused
    return [
        Target("manifest", "a bundle's manifest", check(targets.manifest), _manifests),
        Target("bundle-zip", "a bundle as a zip", check(targets.bundle_zip), _zips, 8192),
        Target("model", "the graph of a .tflite file", check(targets.model_file), _models, 65_536),
        Target("config", "settings", check(targets.config), _configs, 8192),
        Target("recipe", "a training recipe", check(targets.recipe), _recipes),
        Target("image", "an image file", check(targets.image), _pictures, 8192),
        Target("mjpeg", "a camera's stream, with its boundaries", check(targets.mjpeg), _streams, 16_384),
        Target("events", "an event's fields", check(targets.events), _events, 256),
        Target("page", "a request to the status page", check(targets.page), _requests),
        Target("partitions", "a card's partition table", check(targets.partitions), _tables, 40_000),
        Target("fat", "a FAT volume", check(targets.fat), targets.metadata_changes(targets._fat_image), 240),
        Target("ext4", "an ext4 volume", check(targets.ext4), targets.metadata_changes(targets._ext4_image), 240),
    ]
