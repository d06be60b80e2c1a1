"""Writing an image to a card so that a card that boots is a whole one, and reading back what was written.

``target`` says what may be written, ``medium`` writes it; ``stream``, ``checksum`` and ``bmap`` say what is written;
``writer`` puts it in an order in which an interruption leaves no half card, ``verifier`` compares; ``command`` is what
a person sees.
"""
