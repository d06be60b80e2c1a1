"""Write an image to a card safely, read it back and compare it.

``target`` decides what may be written, ``medium`` writes to it; ``stream`` and ``checksum`` read the image; ``writer``
writes, in an order that leaves no half-written card that boots, and compares; ``plan`` combines them.
"""
