"""``fer-edge doctor``: checks for problems on this device, each with a command that fixes it.

``checks`` defines what a check is, ``runner`` lists them and runs them so that none can stop the others. To add one,
write a function in the module of its group and add a line to ``CHECKS``.
"""
