"""The networks a recipe can name (``model.architecture``).

``Network`` is the interface to the training loop. Each network has a module here; ``fer_edge`` is this project's own.
All take raw grey pixels, float32 [N, H, W, 1] 0..255, and give logits, float32 [N, labels].
"""
