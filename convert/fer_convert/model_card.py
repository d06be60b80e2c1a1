"""The model card of a bundle, written from its manifest, so that no number in it is typed by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CARD = "MODEL_CARD.md"
_FER2013 = "fer2013"

_TEMPLATE = """\
# {name} {version}

A facial-expression classifier for embedded devices: one grey face of {height}×{width} pixels in, one logit for each
of {label_count} expressions out ({labels}). Divide the logits by the temperature {temperature:g} before the softmax.

| variant | file | bytes | top-1 |
|---|---|---|---|
{rows}

{summaries}

{measured}
{size}
## Made from

{made}

## What it is not

A predicted expression is not a felt emotion: the model labels how a face looks, as raters {raters} once labelled
such faces, and raters disagree (people reach about 65 ± 5 % on FER2013; Goodfellow et al., 2013, arXiv:1307.0414).
{groups} Do not decide anything about a person with it.

In the European Union, inferring emotions at work and in education is prohibited except for medical or safety reasons
(AI Act, Art. 5(1)(f)); other uses are high-risk (Annex III), and the people exposed must be told (Art. 50(3)).

## Licence

Weights: {license}. {images}
"""

_OF_FER2013 = {
    "raters": "of web images",
    "groups": (
        "FER2013 was collected by web search. Age, skin colour, glasses, head pose and lighting are not balanced in "
        "it, and how\naccuracy differs between groups of people was not measured."
    ),
    "images": (
        "The data set's images are not part of the bundle; they were collected by Pierre-Luc Carrier and\n"
        "Aaron Courville for research, and their own terms bind whoever trains on them."
    ),
}
_OF_OTHER_DATA = {
    "raters": "of its images",
    "groups": "How accuracy differs between groups of people was not measured.",
    "images": (
        "The images that it was trained on are not part of the bundle, and their own terms bind whoever\n"
        "trains on them."
    ),
}
_CHOSEN_ON = (
    "Top-1 is on the split of {data} that every choice was made on, {split}, measured when the file was made. "
    "It is\ntherefore optimistic by what choosing on it gains; `fer-edge bench accuracy --final` measures {final}."
)
_BROUGHT = (
    "Top-1 is on {split} of {data}, measured when the file was made. It says too much where the model was trained "
    "on\nthese images."
)
_UNMEASURED = "Accuracy was not measured, and the temperature is not fitted: `--data` does both."


def model_card(manifest: Mapping[str, Any]) -> str:
    """Markdown of a manifest's table."""
    size, training = manifest["input"], manifest["training"]
    return _TEMPLATE.format(
        name=manifest["name"],
        version=manifest["version"],
        license=manifest["license"],
        temperature=manifest["temperature"],
        labels=", ".join(manifest["labels"]),
        label_count=len(manifest["labels"]),
        height=size["height"],
        width=size["width"],
        rows="\n".join(_row(name, variant) for name, variant in manifest["variants"].items()),
        summaries="\n".join(f"- {name}: {variant['summary']}." for name, variant in manifest["variants"].items()),
        size=_size(training),
        made=_made(training),
        measured=_measured(manifest),
        **(_OF_FER2013 if _is_fer2013(training) else _OF_OTHER_DATA),
    )


def _measured(manifest: Mapping[str, Any]) -> str:
    keys = {key for variant in manifest["variants"].values() for key in variant["accuracy"]}
    if not keys:
        return _UNMEASURED
    (key,) = keys
    own = key.endswith("_validation")
    name = key.removesuffix("_validation") if own else key.removesuffix("_public_test")
    return (_BROUGHT if "brought" in manifest["training"] else _CHOSEN_ON).format(
        data="FER2013" if name == _FER2013 else f"`{name}`",
        split="validation" if own else "PublicTest",
        final="test" if own else "PrivateTest",
    )


def _is_fer2013(training: Mapping[str, Any]) -> bool:
    """Whether FER2013 was trained on, with its own labels or with others, alone or with other sets."""
    return _FER2013 in str(training.get("dataset", {}).get("name", "")).split("_")


def _row(name: str, variant: Mapping[str, Any]) -> str:
    accuracy = ", ".join(f"{share:.2%}" for share in variant["accuracy"].values()) or "–"
    return f"| {name} | {variant['file']} | {variant['bytes']:,} | {accuracy} |"


def _size(training: Mapping[str, Any]) -> str:
    if "params" not in training:
        return ""
    return f"\n{training['params']:,} parameters, {training['macs'] / 1e6:.1f} M multiply-accumulates an image.\n"


def _made(training: Mapping[str, Any]) -> str:
    if "brought" in training:
        told = "\n".join(f"- {line}" for line in training["brought"]["told"])
        return f"`{training['brought']['from']}`, not trained by this project. What was found and assumed:\n\n{told}"
    if "dataset" not in training:
        return "A Keras file without a record of its training."
    data = training["dataset"]
    recipe = f"the recipe in the manifest (`{training['config']['name']}`)" if "config" in training else "a recipe"
    return (
        f"{data['name']}, {data['training_images']:,} Training images that stand in no other split (rows' sha256\n"
        f"`{data['rows_sha256']}`), by {recipe}, code revision `{training['git']}`,\n"
        f"{_which(training)}; "
        f"Keras {training['keras']} on {training['backend']}."
    ) + _offsets(training.get("logit_offsets", {}), _split(training))


def _which(training: Mapping[str, Any]) -> str:
    if "mean_of" in training:
        return (
            f"the mean of the weights of {len(training['mean_of'])} runs, whose recipes the manifest holds (`mean_of`)"
        )
    if "averaged_epochs" in training:
        return f"the mean of the weights of the last {training['averaged_epochs']} of {training['epochs']} epochs"
    return f"epoch {training['best_epoch']:.0f} of {training['epochs']}, chosen on {_split(training)}"


def _split(training: Mapping[str, Any]) -> str:
    """The split that choices were made on; a run on other data than FER2013 has recorded its accuracy by that name."""
    return "validation" if training.get("own_splits") else "PublicTest"


def _offsets(offsets: Mapping[str, float], split: str) -> str:
    if not offsets:
        return ""
    told = ", ".join(f"{label} {offset:+.2f}" for label, offset in offsets.items())
    return f"\nAdded to the logits, so that rare classes are not forgotten: {told} (chosen on {split})."
