"""Models that were not trained here: a foreign .keras, .h5 or SavedModel, made to keep the bundle's contract.

``open_brought`` reads one, ``input_range`` says what its pixels are scaled to, and ``graph`` holds it as a TensorFlow
graph without variables, in which the softmax at the end is found and left out, whatever kind of file it came from.
"""
