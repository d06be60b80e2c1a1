"""Card images as files: partition tables, FAT and ext4 volumes, stock images as they are published.

No mount, no loop device, no root rights.
"""
