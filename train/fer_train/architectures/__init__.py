"""The networks a recipe can name (``model.architecture``).

``Architecture`` is how the training loop sees any of them; ``fer_train.model`` is ours, and each of the others has a
module here. All take raw grey pixels, float32 [N, H, W, 1] 0..255, and give logits, float32 [N, labels].
"""
