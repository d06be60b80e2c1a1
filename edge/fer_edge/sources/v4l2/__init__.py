"""Cameras of Linux' video interface V4L2 (USB cameras), by its system calls: no picture goes through colours to grey.

``structs`` holds the kernel's structures, ``capture`` streams buffers, ``formats`` turns them into grey pictures,
``devices`` finds cameras and their stable names, ``camera`` makes a source of it all.
"""
