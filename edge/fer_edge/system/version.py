"""The version of the package.

A constant: to read it from the installed metadata would load the email package, 4 MiB of memory.
"""

__version__ = "0.1.0"
