"""Whole frames, from camera picture to named faces: FER-Edge against the pipeline of the tutorials and its peers."""
