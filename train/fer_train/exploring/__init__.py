"""``fer-edge data explore``: charts and samples of a data set, as PNGs and one page."""
