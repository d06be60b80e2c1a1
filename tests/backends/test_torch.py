"""Training on PyTorch (``KERAS_BACKEND=torch``): the fused BatchNorm, and a run from training to conversion.

PyTorch is in no lock file: ``make test-backends`` installs it and runs these tests, which skip where it is missing.
They run in separate processes, because a process has only one Keras backend.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from fer_edge.model.bundle import load_bundle
from fer_train.training.run_folder.files import BEST, CHECKPOINT, HELD, HISTORY, MODEL, RUN
from support.data.fer2013 import write_mini_fer2013
from support.training.mini_run import RECIPE, fer_edge
from support.training.runs import cut_back
from support.training.torch_process import run_on_torch

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch is not installed: make test-backends"
)

HELD_RECIPE = RECIPE.replace("size_changes = [2]", "size_changes = [-1]\ncooldown_epochs = 1")


LAYERS = """
from fer_train.networks.blocks import LayerKinds
from fer_train.networks.torch_conv import DirectConv2D
from fer_train.networks.torch_norm import FusedBatchNormalization

KINDS = LayerKinds(DirectConv2D, FusedBatchNormalization)

def layers(channels=6, **options):
    '''The fused layer and Keras' own, with the same weights, none of them what they were made with.'''
    made = []
    for kind in (FusedBatchNormalization, keras.layers.BatchNormalization):
        random = np.random.default_rng(5)
        layer = kind(momentum=0.9, epsilon=1e-5, **options)
        layer.build((None, None, None, channels))
        layer.set_weights([random.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
        made.append(layer)
    return made

def batch(shape=(8, 5, 7, 6)):
    return np.random.default_rng(9).normal(0.7, 2, shape).astype("float32")
"""


def on_torch(code: str, *arguments: str | Path) -> None:
    """Run ``code`` in a Python with Keras on PyTorch and with ``LAYERS``."""
    run_on_torch(LAYERS + code, *arguments)


def test_the_fused_norm_answers_and_learns_as_keras_own() -> None:
    on_torch("""
def answers(layer, training):
    '''Output, and the gradients of a loss that weighs each of its values differently.'''
    pixels = torch.tensor(batch(), requires_grad=True)
    output = layer(pixels, training=training)
    assert tuple(output.shape) == tuple(pixels.shape) and output.dtype == torch.float32
    weights = torch.tensor(np.random.default_rng(3).normal(size=output.shape).astype("float32"))
    (output * weights).sum().backward()
    values = [output, pixels.grad, layer.gamma.value.grad, layer.beta.value.grad]
    return [value.detach().numpy() for value in values]

for training in (True, False):
    for ours, theirs in zip(*(answers(layer, training) for layer in layers()), strict=True):
        assert np.abs(theirs).max() > 0.1
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
""")


def test_the_running_statistics_are_as_documented() -> None:
    on_torch("""
ours, theirs = layers()
before = [weight.copy() for weight in theirs.get_weights()]
pixels = batch()
pixels_per_channel = pixels.size // pixels.shape[-1]
for layer in (ours, theirs):
    layer(torch.tensor(pixels), training=True)
gamma, beta, mean, variance = ours.get_weights()
np.testing.assert_array_equal(gamma, before[0])
np.testing.assert_array_equal(beta, before[1])
np.testing.assert_allclose(mean, theirs.get_weights()[2], rtol=1e-5)
# Keras gathers the biased variance, PyTorch the unbiased one: n / (n - 1) times as much.
gathered = 0.1 * pixels.var(axis=(0, 1, 2)) * pixels_per_channel / (pixels_per_channel - 1)
np.testing.assert_allclose(variance, 0.9 * before[3] + gathered, rtol=1e-5)
assert np.abs(variance - theirs.get_weights()[3]).max() > 1e-4  # so that the line above distinguishes the two

# Inference moves nothing; nor does a layer that is not to be trained, even in training.
for layer in (ours, theirs):
    layer.trainable = False
    kept = layer.get_weights()
    layer(torch.tensor(pixels), training=False)
    layer(torch.tensor(pixels), training=True)
    for now, then in zip(layer.get_weights(), kept, strict=True):
        np.testing.assert_array_equal(now, then)
frozen = [layer(torch.tensor(pixels), training=True).detach().numpy() for layer in layers(trainable=False)]
np.testing.assert_allclose(*frozen, rtol=1e-4, atol=1e-4)
""")


def test_the_direct_convolution_answers_and_learns_as_keras_own() -> None:
    on_torch("""
import itertools

def answers(layer, pixels):
    pixels = torch.tensor(pixels, requires_grad=True, dtype=getattr(torch, layer.compute_dtype))
    output = layer(pixels)
    weights = torch.tensor(np.random.default_rng(3).normal(size=output.shape), dtype=output.dtype)
    (output * weights).sum().backward()
    values = [output, pixels.grad, *(weight.value.grad for weight in layer.weights)]
    return [value.detach().numpy() for value in values]

cases = [
    dict(kernel_size=kernel, strides=stride, padding=padding, groups=groups, use_bias=bias)
    for kernel, stride, padding, (groups, bias) in itertools.product(
        (1, 2, 3, (5, 3)), (1, 2, 3), ("same", "valid"), ((1, False), (2, True))
    )
]
cases += [dict(kernel_size=3, dilation_rate=2), dict(kernel_size=3, activation="relu")]
for case, side in itertools.product(cases, (11, 12)):
    made = []
    # 16 channels: with 6 and 4, a 1x1 convolution with strides now and then breaks PyTorch 2.13's heap, Keras' own too.
    for kind, dtype in ((DirectConv2D, "float32"), (keras.layers.Conv2D, "float64")):
        layer = kind(16, dtype=dtype, **case)
        layer.build((None, None, None, 16))
        random = np.random.default_rng(5)
        layer.set_weights([random.normal(size=weight.shape) for weight in layer.get_weights()])
        made.append(answers(layer, batch((3, side, side + 3, 16))))
    for ours, theirs in zip(*made, strict=True):
        assert ours.shape == theirs.shape, case
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-3, err_msg=str(case))
    assert np.abs(made[1][0]).max() > 0.1

# In bfloat16 it computes in that, and its variable stays float32.
layer = DirectConv2D(4, 3, strides=2, padding="same", dtype="mixed_bfloat16")
output = layer(batch((3, 12, 12, 6)))
assert output.dtype == torch.bfloat16 and layer.kernel.value.dtype == torch.float32
""")


def test_its_variables_are_those_of_keras_own_in_the_same_order() -> None:
    on_torch("""
from fer_train.recipe.recipe import ModelSettings
from fer_train.networks.fer_edge import build_model
settings = ModelSettings(stem_width=16, widths=(16, 24), blocks=(1, 2))
fused, plain = (build_model(settings, 7, kinds=kinds) for kinds in (KINDS, None))
assert [(v.path, v.shape, v.trainable) for v in fused.weights] == [
    (v.path, v.shape, v.trainable) for v in plain.weights
]
assert sum(isinstance(layer, FusedBatchNormalization) for layer in fused.layers) > 5
assert sum(isinstance(layer, DirectConv2D) for layer in fused.layers) > 5
assert not any(isinstance(layer, DirectConv2D | FusedBatchNormalization) for layer in plain.layers)
plain.set_weights(fused.get_weights())
pixels = batch((3, 48, 40, 1)) * 60 + 120
np.testing.assert_allclose(*(m.predict(pixels, verbose=0) for m in (fused, plain)), rtol=1e-4, atol=1e-4)
""")


def test_a_checkpoint_is_restored_with_its_optimizer(tmp_path: Path) -> None:
    on_torch(
        """
from fer_train.recipe.recipe import ModelSettings
from fer_train.networks.fer_edge import build_model
model = build_model(ModelSettings(stem_width=16, widths=(16,), blocks=(1,)), 7, kinds=KINDS)
model.compile(keras.optimizers.AdamW(0.01), loss=keras.losses.CategoricalCrossentropy(from_logits=True))
pixels, targets = batch((16, 24, 24, 1)) * 60 + 120, np.eye(7, dtype="float32")[np.arange(16) % 7]
model.fit(pixels, targets, batch_size=4, epochs=2, verbose=0)
model.save(sys.argv[1])
loaded = keras.models.load_model(sys.argv[1])
for kind in (DirectConv2D, FusedBatchNormalization):
    assert any(isinstance(layer, kind) for layer in loaded.layers)
for kept, restored in ((model.weights, loaded.weights), (model.optimizer.variables, loaded.optimizer.variables)):
    assert len(kept) == len(restored) > 4
    for ours, theirs in zip(kept, restored, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(ours), keras.ops.convert_to_numpy(theirs))
np.testing.assert_array_equal(*(m.predict(pixels, verbose=0) for m in (model, loaded)))
""",
        tmp_path / "checkpoint.keras",
    )


@pytest.fixture(scope="module")
def mini_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mini_fer2013(tmp_path_factory.mktemp("mini") / "fer2013.csv", per_class=24, test_per_class=8)


@pytest.fixture(scope="module")
def torch_run(mini_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained on PyTorch by the real command. Shared: copy it before changing it."""
    folder = tmp_path_factory.mktemp("torch")
    (folder / "recipe.toml").write_text(HELD_RECIPE)
    train("torch", mini_data, "--config", folder / "recipe.toml", "--out", folder / "run")
    return folder / "run"


def train(backend: str, data: Path, *options: str | Path) -> str:
    """Run ``fer-edge train`` on ``backend``; return its standard error."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", backend)
        done = fer_edge("train", *options, data=data)
    assert done.returncode == 0, done.stderr
    return done.stderr


def history(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / HISTORY).read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def test_a_run_on_torch_learns(torch_run: Path) -> None:
    summary = json.loads((torch_run / RUN).read_text())
    assert summary["backend"] == "torch"
    assert summary["public_test_accuracy"] == max(line["val_accuracy"] for line in history(torch_run)) > 0.3
    assert (torch_run / HELD).is_file()


@pytest.mark.parametrize("backend", ["torch", "tensorflow"])
def test_a_run_on_torch_is_resumed(backend: str, torch_run: Path, mini_data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(torch_run, run)
    cut_back(run, 2)
    said = train(backend, mini_data, "--config", torch_run.parent / "recipe.toml", "--out", run, "--resume")
    assert "resuming after epoch 2" in said
    assert history(run)[:2] == history(torch_run)[:2]
    last, wanted = history(run)[2], history(torch_run)[2]
    if backend == "torch":
        assert last == pytest.approx(wanted, rel=0.05, abs=0.03)
    else:  # the same weights and optimizer, but its own dropout
        assert last["loss"] < history(run)[1]["loss"]
        assert last["val_accuracy"] == pytest.approx(wanted["val_accuracy"], abs=0.2)
    assert json.loads((run / RUN).read_text())["backend"] == backend


def test_the_kept_model_holds_keras_own_norm_and_converts(torch_run: Path, mini_data: Path, tmp_path: Path) -> None:
    def config_of(name: str) -> str:
        with zipfile.ZipFile(torch_run / name) as archive:
            return archive.read("config.json").decode()

    for name in (CHECKPOINT, HELD, BEST):
        assert "FusedBatchNormalization" in config_of(name)
        assert "DirectConv2D" in config_of(name)
    assert "fer_train" not in config_of(MODEL)
    assert "BatchNormalization" in config_of(MODEL)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("KERAS_BACKEND", raising=False)
        done = fer_edge("convert", torch_run, "--out", tmp_path / "bundle", data=mini_data)
    assert done.returncode == 0, done.stderr
    manifest = load_bundle(tmp_path / "bundle").manifest
    assert set(manifest.variants) == {"float32", "int8"}
    # The same model in another runtime: one of the 56 images may get another label.
    told = json.loads((torch_run / RUN).read_text())["public_test_accuracy"]
    assert list(manifest.variants["float32"].accuracy.values()) == pytest.approx([told], abs=0.02)
