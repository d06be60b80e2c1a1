"""The bundle inside the package is the int8 variant of the released one."""

from __future__ import annotations

from fer_edge.bundle import file_sha256, load_bundle
from support.fresh_install import CHECKOUT

RELEASED = CHECKOUT / "models" / "fer-edge-s"


def test_the_default_bundle_is_the_released_int8() -> None:
    with load_bundle() as default, load_bundle(RELEASED) as released:
        assert list(default.manifest.variants) == ["int8"]
        mine, theirs = default.variant("int8"), released.variant("int8")
        assert file_sha256(mine.path) == file_sha256(theirs.path)
        assert (mine.io, mine.accuracy) == (theirs.io, theirs.accuracy)
        for key in ("name", "version", "license", "labels", "input", "output", "temperature"):
            assert getattr(default.manifest, key) == getattr(released.manifest, key), key


def test_the_default_bundle_holds_nothing_else() -> None:
    with load_bundle() as default:
        assert sorted(path.name for path in default.folder.iterdir()) == ["int8.tflite", "manifest.json"]


def test_the_released_bundle_can_be_used_whole() -> None:
    with load_bundle(RELEASED) as released:
        assert {"float32", "int8"} <= set(released.manifest.variants)
        for name in released.manifest.variants:
            assert released.variant(name).accuracy["fer2013_public_test"] > 0.6
    assert (RELEASED / "MODEL_CARD.md").is_file()
