"""The stages of the pipeline, one file each. No stage imports another; only ``fer_edge.pipeline`` composes them."""
