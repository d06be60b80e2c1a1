"""``fer-edge data explore``: what a person looks at before training, as PNGs and one page."""
