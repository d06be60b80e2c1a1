"""The networks that a recipe can define: shapes and cost; folding changes only the file."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from fer_train.backend import load_keras
from fer_train.networks.blocks import LayerKinds, transfer_weights
from fer_train.networks.fer_edge import build_model
from fer_train.networks.layers import count_macs
from fer_train.recipe.model import ModelSettings

Block = Literal["residual", "inverted", "repvgg", "plain"]
KINDS: tuple[Block, ...] = ("residual", "inverted", "repvgg", "plain")


def settings(kind: Block, stem_stride: Literal[1, 2] = 1) -> ModelSettings:
    return ModelSettings(stem_width=16, stem_stride=stem_stride, block=kind, widths=(16, 24), blocks=(2, 2))


def scrambled(model: Any) -> Any:
    """Return ``model`` as if trained: all scales, offsets and running statistics differ from their initial values."""
    random = np.random.default_rng(7)
    for layer in model.layers:
        layer.set_weights(
            [random.uniform(0.5, 1.5, w.shape) * np.sign(w + 1e-9) * (np.abs(w) + 0.1) for w in layer.get_weights()]
        )
    return model


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stem_stride", [1, 2])
@pytest.mark.parametrize("side", [48, 40, 31])
def test_the_kept_model_answers_as_the_trained_one(kind: Block, stem_stride: Literal[1, 2], side: int) -> None:
    load_keras()
    wanted = settings(kind, stem_stride)
    trained, kept = scrambled(build_model(wanted, 7)), build_model(wanted, 7, side, side, folded=True)
    transfer_weights(trained, kept)
    pixels = np.random.default_rng(1).uniform(0, 255, (3, side, side, 1)).astype(np.float32)
    ours, theirs = (np.asarray(model.predict_on_batch(pixels)) for model in (kept, trained))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3 * np.abs(theirs).max())


def test_repvgg_keeps_one_branch_and_no_batch_norm_in_its_blocks() -> None:
    load_keras()
    kept = build_model(settings("repvgg"), 7, 48, 48, folded=True)
    names = [layer.name for layer in kept.layers]
    assert not [name for name in names if "1x1" in name or "add" in name or ("norm" in name and "stem" not in name)]
    # By hand: the stem at 48 x 48, stages of 16 channels at 24 x 24 and of 24 at 12 x 12, the logits.
    assert count_macs(kept) == (
        9 * 16 * 48 * 48 + 2 * 9 * 16 * 16 * 24 * 24 + 9 * (16 * 24 + 24 * 24) * 12 * 12 + 24 * 7
    )


def test_a_depthwise_convolution_costs_one_channel_each() -> None:
    load_keras()
    one = ModelSettings(stem_width=16, block="inverted", widths=(16,), blocks=(1,))
    kept = build_model(one, 7, 48, 48, folded=True)
    stem, expand, depth, project = 9 * 16 * 48 * 48, 16 * 48 * 48 * 48, 9 * 48 * 24 * 24, 48 * 16 * 24 * 24
    assert count_macs(kept) == stem + expand + depth + project + 16 * 7


@pytest.mark.parametrize("kind", KINDS)
def test_a_strided_stem_takes_the_place_of_the_first_stage_s_stride(
    kind: Block,
) -> None:
    load_keras()
    sides = [build_model(settings(kind, stride), 7, 48, 48).get_layer("pool").input.shape[1] for stride in (1, 2)]
    assert sides == [12, 12]


def test_plain_blocks_after_the_stem_make_a_vgg_of_full_resolution() -> None:
    load_keras()
    vgg = ModelSettings(stem_width=16, stem_blocks=1, block="plain", widths=(24, 32), blocks=(2, 1))
    kept = build_model(vgg, 7, 48, 48, folded=True)
    # By hand: two convolutions at 48 x 48, two of 24 channels at 24 x 24, one of 32 at 12 x 12, the logits.
    assert (
        count_macs(kept) == 9 * ((1 + 16) * 16 * 48 * 48 + (16 * 24 + 24 * 24) * 24 * 24 + 24 * 32 * 12 * 12) + 32 * 7
    )


@pytest.mark.slow
def test_a_pytorch_checkpoint_of_an_earlier_version_is_loaded(tmp_path: Path) -> None:
    """Such a file has the old modules of the layers; a new process knows only their registered names."""
    load_keras()
    from fer_train.networks.torch_conv import DirectConv2D
    from fer_train.networks.torch_norm import FusedBatchNormalization

    kinds = LayerKinds(DirectConv2D, FusedBatchNormalization)
    build_model(settings("residual"), 7, 48, 48, kinds=kinds).save(tmp_path / "new.keras")
    with zipfile.ZipFile(tmp_path / "new.keras") as new, zipfile.ZipFile(tmp_path / "old.keras", "w") as old:
        for name in new.namelist():
            content = new.read(name)
            if name == "config.json":
                assert content.count(b"fer_train.networks.torch_") > 2
                content = content.replace(b"fer_train.networks.torch_", b"fer_train.torch_")
            old.writestr(name, content)
    load = "import sys; from pathlib import Path; from fer_train.networks.model_files import load_model; "
    load += "print(load_model(Path(sys.argv[1])).count_params())"
    done = subprocess.run(
        [sys.executable, "-c", load, tmp_path / "old.keras"], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == build_model(settings("residual"), 7).count_params()
