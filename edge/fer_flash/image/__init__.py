"""Card images as files: unpacking, partition tables, file systems, and which system a stock image contains.

Needs no mounts, loop devices or root rights.
"""
