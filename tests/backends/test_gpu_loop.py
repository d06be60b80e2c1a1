"""The loop for GPUs, on the CPU, where it computes the same: network, optimizers and augmentation, and whole runs.

What only a GPU does, the recording of a step, is not tested: the released models were trained by it.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from support.data.fer2013 import write_mini_fer2013
from support.training.mini_run import RECIPE
from support.training.torch_process import run_on_torch

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch is not installed: make test-backends"
)

GPU_RECIPE = (
    RECIPE.replace(
        "epochs = 3", "epochs = 6\naveraged_epochs = 2\nmin_save_interval_s = 600.0\nnorm_images = 'augmented'"
    )
    .replace(
        "erase_probability = 0.0",
        "erase_probability = 0.3\nblur = 1.0\nnoise = 0.05\nmixup_alpha = 0.2\ncutmix_alpha = 0.2",
    )
    .replace("size_changes = [2]", "size_changes = [3]")
)

MODELS = """
from fer_train.networks.blocks import LayerKinds
from fer_train.networks.fer_edge import build_model
from fer_train.networks.torch_conv import DirectConv2D
from fer_train.networks.torch_norm import FusedBatchNormalization
from fer_train.recipe.model import ModelSettings
from fer_train.training.gpu.network import TorchNetwork, UnsupportedLayerError
CPU = torch.device("cpu")

def model(block="residual"):
    '''A network with dropout off, whose BatchNorm has statistics of its own.'''
    chosen = ModelSettings(block=block, stem_width=16, stem_blocks=1, widths=(16, 32), blocks=(1, 2), dropout=0.0)
    made = build_model(chosen, 7, kinds=LayerKinds(DirectConv2D, FusedBatchNormalization))
    random = np.random.default_rng(5)
    for variable in made.variables:
        if "moving" in variable.path or "beta" in variable.path:
            variable.assign(random.uniform(0.5, 0.8, variable.shape))
    return made
"""

RUN = """
from fer_train.data.dataset import load_dataset
from fer_train.recipe.recipe import load_recipe
from fer_train.training.loop import train
data, recipe, folder = map(Path, sys.argv[1:4])
dataset, settings = load_dataset(data, cache=False), load_recipe(recipe)
class Stopped(Exception): pass

def run(out, stop_after=None, **options):
    def stop(line):
        if line["epoch"] == stop_after:
            raise Stopped
    try:
        train(settings, dataset, folder / out, device=torch.device("cpu"), on_epoch=stop, **options)
    except Stopped:
        return None
    return keras.models.load_model(folder / out / "model.keras", compile=False).get_weights()
"""


@pytest.mark.parametrize("block", ["residual", "inverted", "repvgg", "plain"])
def test_the_network_computes_what_keras_does(block: str) -> None:
    run_on_torch(
        MODELS
        + """
kind = sys.argv[1]
for side in (48, 36):  # a side that is no multiple of 8 is padded unevenly
    keras_model = model(kind)
    network = TorchNetwork(keras_model, CPU, "float32")
    pixels = np.random.default_rng(1).uniform(0, 255, (4, side, side, 1)).astype("float32")
    images = torch.tensor(pixels).permute(0, 3, 1, 2)
    for training in (False, True):
        ours = network(images, training=training).detach().numpy()
        theirs = keras.ops.convert_to_numpy(keras_model(pixels, training=training))
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
    # Both have updated the running statistics of BatchNorm.
    expected = keras_model.get_weights()
    network.write_weights()
    for ours, theirs in zip(keras_model.get_weights(), expected):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
""",
        block,
    )


def test_a_layer_that_is_not_known_is_named() -> None:
    run_on_torch(
        MODELS
        + """
pixels = keras.Input((48, 48, 1))
tail = keras.layers.Dense(7)(keras.layers.Flatten(name="flat")(pixels))
try:
    TorchNetwork(keras.Model(pixels, tail), CPU, "float32")
    raise AssertionError
except UnsupportedLayerError as error:
    assert str(error) == "flat is a Flatten", error
"""
    )


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_optimizers_change_weights_as_keras_do(name: str) -> None:
    run_on_torch(
        MODELS
        + """
from fer_train.training.gpu.update import update_for
keras_model = model()
optimizer = (keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.01) if sys.argv[1] == "sgd"
             else keras.optimizers.AdamW(0.05, weight_decay=0.1))
optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
optimizer.build(keras_model.trainable_variables)
network = TorchNetwork(keras_model, CPU, "float32")
update = update_for(network.trained, optimizer)
rates = np.linspace(0.003, 0.001, 7).astype(np.float32)
read = torch.tensor(update.rates(rates, 0))
random = np.random.default_rng(0)
for step in range(7):
    variables = keras_model.trainable_variables
    gradients = [torch.tensor(random.standard_normal(variable.shape).astype(np.float32)) for variable in variables]
    optimizer.learning_rate = float(rates[step])
    optimizer.apply(gradients, variables)
    with torch.no_grad():
        ours = [gradient.permute(each.axes) for gradient, each in zip(gradients, network._trained)]
        update.step(ours, read[step])
expected = keras_model.get_weights(), [v.numpy() for _, kept in update.slots for v in kept]
network.write_weights()
for slots, kept in update.slots:
    network.write_slots(slots, kept)
for ours, theirs in zip(keras_model.get_weights(), expected[0]):
    np.testing.assert_allclose(ours, theirs, atol=2e-6)
for ours, theirs in zip([v.numpy() for _, kept in update.slots for v in kept], expected[1]):
    np.testing.assert_allclose(ours, theirs, atol=2e-6)
""",
        name,
    )


def test_warp_and_blur_are_those_of_opencv() -> None:
    run_on_torch("""
import cv2
from fer_train.recipe.augmentation import AugmentSettings
from fer_train.training.gpu.augmentation import degrade, warp
from fer_train.training.gpu.draws import draw_epoch
random = np.random.default_rng(0)
noise = random.integers(0, 256, (64, 48, 40), dtype=np.uint8)
images = np.stack([cv2.GaussianBlur(image, (0, 0), 1.5) for image in noise])
affine = draw_epoch(64, 64, AugmentSettings(rotate_degrees=30, shift=0.2), (1, 2)).affine[0]
for side in (48, 36):
    ours = warp(torch.tensor(images), torch.tensor(affine), side).numpy()[:, 0]
    for image, seen, matrix in zip(images, ours, affine.astype(float)):
        height, width = image.shape
        half = np.array([width / 2, height / 2])
        linear = half[:, None] * matrix[:, :2] * (2 / side)  # from pixels of the result to pixels of the image
        offset = half * matrix[:, 2] + half - 0.5 - linear @ np.array([(side - 1) / 2] * 2)
        expected = cv2.warpAffine(image.astype(np.float32), np.column_stack([linear, offset]), (side, side),
                                  flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)
        assert np.abs(seen - expected).max() < 2  # OpenCV rounds positions to 1/32 pixel
sharp = torch.rand(8, 1, 48, 48) * 255
sigma = torch.linspace(0, 2, 8)
soft = degrade(sharp, sigma, torch.zeros(8), 2.0)[:, 0].numpy()
for image, seen, width in zip(sharp[:, 0].numpy(), soft, sigma.tolist()):
    expected = cv2.GaussianBlur(image, (0, 0), width, borderType=cv2.BORDER_REPLICATE) if width >= 0.1 else image
    np.testing.assert_allclose(seen, expected, atol=0.01)
""")


def test_blending_shares_targets_as_it_shares_pixels() -> None:
    run_on_torch("""
from fer_train.training.gpu.augmentation import blend, erase, jitter
images = torch.arange(7.0)[:, None, None, None].expand(7, 1, 20, 20)  # each pixel identifies its image
targets, partner = torch.eye(7), torch.tensor([6, 5, 4, 3, 2, 1, 0])
nothing, whole = torch.zeros(4), torch.tensor(1.0)
for share, pasted in ((torch.tensor(0.3), nothing), (whole, torch.tensor([0.1, 0.2, 0.63, 0.97]))):
    mixed, told = blend(images, targets, partner, share, pasted)
    numbers = torch.arange(7.0)
    torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), told @ numbers, atol=1e-5, rtol=0)
    torch.testing.assert_close(told.sum(dim=1), torch.ones(7))
erased = erase(torch.full((2, 1, 20, 20), -1.0), torch.tensor([[0.0, 0.0, 0.5, 1.0], [0.0, 0.0, 0.0, 0.0]]))
assert (erased[0, 0, :10] >= 0).all() and (erased[0, 0, 10:] == -1).all() and (erased[1] == -1).all()
bright = jitter(torch.full((1, 1, 4, 4), 100.0), torch.tensor([2.0]), torch.tensor([20.0]))
assert (bright == 120).all()
""")


def test_the_loss_is_that_of_keras() -> None:
    run_on_torch("""
from fer_train.training.gpu.steps import DeviceLoss
from fer_train.training.loss import AdjustedCrossentropy
random = np.random.default_rng(3)
logits = random.normal(0, 3, (64, 7)).astype(np.float32)
targets = random.dirichlet(np.ones(7), 64).astype(np.float32)
for adjustments, smoothing in (([0.0] * 7, 0.0), ([0.0, 1.0, 0.3, 0.0, -0.5, 0.0, 2.0], 0.1)):
    ours = DeviceLoss(torch.tensor(adjustments), smoothing).of_images(torch.tensor(logits), torch.tensor(targets))
    theirs = AdjustedCrossentropy(adjustments, smoothing, reduction=None)(targets, logits)
    np.testing.assert_allclose(ours.numpy(), keras.ops.convert_to_numpy(theirs), rtol=1e-5)
""")


@pytest.mark.parametrize(
    ("stop_after", "kept"),
    [
        pytest.param(5, 5, id="in the epochs of the mean, of which each has a checkpoint"),
        pytest.param(3, 0, id="before the first checkpoint, so that its epochs are repeated"),
    ],
)
def test_a_run_stopped_and_resumed_equals_one_that_was_not(stop_after: int, kept: int, tmp_path: Path) -> None:
    data = write_mini_fer2013(tmp_path / "fer2013.csv")
    (tmp_path / "gpu.toml").write_text(GPU_RECIPE, encoding="utf-8")
    run_on_torch(
        RUN
        + """
stop_after, kept = map(int, sys.argv[4:])

def epochs(out):
    history = folder / out / "history.jsonl"
    return len(history.read_text().splitlines()) if history.exists() else 0

whole = run("whole")
assert epochs("whole") == 6
assert run("cut", stop_after) is None
assert epochs("cut") == kept
assert (folder / "cut" / "checkpoint.keras").exists() == (kept > 0)
resumed = run("cut", resume=True)
assert epochs("cut") == 6
for ours, theirs in zip(resumed, whole):
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
""",
        data,
        tmp_path / "gpu.toml",
        tmp_path,
        str(stop_after),
        str(kept),
    )


def test_teachers_add_their_share_and_the_loss_falls(tmp_path: Path) -> None:
    data = write_mini_fer2013(tmp_path / "fer2013.csv")
    taught = GPU_RECIPE + '[targets]\nteacher = 0.5\nteacher_models = ["{run}"]\nteacher_mirrored = true\n'
    (tmp_path / "gpu.toml").write_text(GPU_RECIPE, encoding="utf-8")
    (tmp_path / "taught.toml").write_text(taught.format(run=tmp_path / "whole"), encoding="utf-8")
    run_on_torch(
        RUN
        + """
run("whole")
from fer_train.training.inputs.targets import training_targets
settings = load_recipe(Path(sys.argv[4]))
run("taught", targets=training_targets(settings.targets, dataset))
import json
lines = [json.loads(line) for line in (folder / "taught" / "history.jsonl").read_text().splitlines()]
assert lines[-1]["loss"] < lines[0]["loss"] - 0.1, lines
""",
        data,
        tmp_path / "gpu.toml",
        tmp_path,
        tmp_path / "taught.toml",
    )


def test_pytorch_is_chosen_where_it_has_a_gpu() -> None:
    run_on_torch("""
import os
from fer_train.backend import backend_for_training
del os.environ["KERAS_BACKEND"]
torch.cuda.is_available = lambda: True
assert backend_for_training() == "torch"
os.environ["KERAS_BACKEND"] = "jax"  # the user's choice
assert backend_for_training() is None
""")
