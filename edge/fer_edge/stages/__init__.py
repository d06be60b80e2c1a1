"""The stages of the pipeline, one module each. Stages do not import each other; ``fer_edge.pipeline`` composes them."""
