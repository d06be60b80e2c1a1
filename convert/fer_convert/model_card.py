"""Write the model card of a bundle from its manifest, so that all numbers are those of the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CARD = "MODEL_CARD.md"
_FER2013 = "fer2013"

_TEMPLATE = """\
# {name} {version}

A facial-expression classifier for embedded devices. Input: one grey face of {height}×{width} pixels. Output: one logit
for each of {label_count} expressions ({labels}). Divide the logits by the
temperature {temperature:g} before the softmax.

| variant | file | bytes | top-1 |
|---|---|---|---|
{rows}

{summaries}

{measured}
{size}
## Training

{made}

## Limitations

A predicted expression is not a felt emotion. The model imitates the labels that raters {raters} gave to
faces, and raters disagree (people reach about 65 ± 5 % on FER2013; Goodfellow et al., 2013, arXiv:1307.0414).
{groups} Do not use it for decisions about a person.

In the European Union, inferring emotions at work and in education is prohibited except for medical or safety reasons
(AI Act, Art. 5(1)(f)); other uses are high-risk (Annex III), and the people exposed must be informed (Art. 50(3)).

## License

Weights: {license}. {images}
"""

_OF_FER2013 = {
    "raters": "of web images",
    "groups": (
        "FER2013 was collected by web search. Age, skin colour, glasses, head pose and lighting are not balanced in "
        "it, and\ndifferences of accuracy between groups of people were not measured."
    ),
    "images": (
        "The bundle does not contain the data set's images. They were collected by Pierre-Luc Carrier and\n"
        "Aaron Courville for research; their own terms apply to training on them."
    ),
}
_OF_OTHER_DATA = {
    "raters": "of its images",
    "groups": "Differences of accuracy between groups of people were not measured.",
    "images": ("The bundle does not contain the training images. Their own terms apply to training on\nthem."),
}
_CHOSEN_ON = (
    "Top-1 was measured at the conversion, on the {split} split of {data}. All choices were made on this split, so "
    "the\nnumbers are optimistic; `fer-edge bench accuracy --final` measures {final}."
)
_FOREIGN = (
    "Top-1 was measured at the conversion, on {split} of {data}. It is too high if the model was trained on "
    "these\nimages."
)
_UNMEASURED = "Accuracy was not measured, and the temperature was not fitted: `--data` does both."


def model_card(manifest: Mapping[str, Any]) -> str:
    """Return the model card of a manifest as Markdown."""
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
    return (_FOREIGN if "brought" in manifest["training"] else _CHOSEN_ON).format(
        data="FER2013" if name == _FER2013 else f"`{name}`",
        split="validation" if own else "PublicTest",
        final="test" if own else "PrivateTest",
    )


def _is_fer2013(training: Mapping[str, Any]) -> bool:
    """Return whether the training data include FER2013, with any labels."""
    return _FER2013 in str(training.get("dataset", {}).get("name", "")).split("_")


def _row(name: str, variant: Mapping[str, Any]) -> str:
    accuracy = ", ".join(f"{share:.2%}" for share in variant["accuracy"].values()) or "–"
    return f"| {name} | {variant['file']} | {variant['bytes']:,} | {accuracy} |"


def _size(training: Mapping[str, Any]) -> str:
    if "params" not in training:
        return ""
    return f"\n{training['params']:,} parameters, {training['macs'] / 1e6:.1f} M multiply-accumulates per image.\n"


def _made(training: Mapping[str, Any]) -> str:
    if "brought" in training:
        notes = "\n".join(f"- {line}" for line in training["brought"]["told"])
        return f"`{training['brought']['from']}`, not trained by this project. What was found and assumed:\n\n{notes}"
    if "dataset" not in training:
        return "A Keras file without a record of its training."
    data = training["dataset"]
    recipe = f"the recipe in the manifest (`{training['config']['name']}`)" if "config" in training else "a recipe"
    return (
        f"{data['name']}, {data['training_images']:,} Training images that are in no other split (rows' sha256\n"
        f"`{data['rows_sha256']}`), by {recipe}, code revision `{training['git']}`,\n"
        f"{_which(training)}; "
        f"Keras {training['keras']} on {training['backend']}."
    ) + _offsets(training.get("logit_offsets", {}), _split(training))


def _which(training: Mapping[str, Any]) -> str:
    if "mean_of" in training:
        return (
            f"the mean of the weights of {len(training['mean_of'])} runs, whose recipes are in the manifest (`mean_of`)"
        )
    if "averaged_epochs" in training:
        return f"the mean of the weights of the last {training['averaged_epochs']} of {training['epochs']} epochs"
    return f"epoch {training['best_epoch']:.0f} of {training['epochs']}, chosen on {_split(training)}"


def _split(training: Mapping[str, Any]) -> str:
    """Return the name of the split on which choices were made."""
    return "validation" if training.get("own_splits") else "PublicTest"


def _offsets(offsets: Mapping[str, float], split: str) -> str:
    if not offsets:
        return ""
    shown = ", ".join(f"{label} {offset:+.2f}" for label, offset in offsets.items())
    return f"\nAdded to the logits to raise the recall of rare classes: {shown} (chosen on {split})."
