"""``fer-edge doctor``: what could keep the program from its work on this machine, and the command that mends it.

``checks`` says what a check is, ``examine`` runs them so that none can stop the others, ``command`` lists them all and
shows what they found. To add one: a function in the file of its group, and a line in ``command``.
"""
