"""V4L2 cameras (USB and others) through the kernel's ioctls, without a detour through colour pictures.

``structs`` defines the kernel's structures, ``capture`` streams buffers, ``formats`` converts them to grey pictures,
``devices`` finds cameras and their stable names, and ``camera`` is the frame source.
"""
