"""Whole frames, from camera picture to labeled faces: FER-Edge compared with other pipelines."""
