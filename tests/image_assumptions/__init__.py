"""Assumptions of FER-Edge about a Raspberry Pi OS image, each with its source, and a check of an image.

The check needs neither mounts nor root rights: ``make test-real-image IMAGE=…`` prints the list.
"""

from image_assumptions.assumption import Assumption, Finding, examine, listing
from image_assumptions.boot_partition import BOOT_PARTITION
from image_assumptions.configuration import CONFIGURATION
from image_assumptions.devices import DEVICES
from image_assumptions.facts import facts
from image_assumptions.first_boot import FIRST_BOOT
from image_assumptions.root_system import ROOT_SYSTEM
from image_assumptions.stock_image import StockImage

ASSUMPTIONS: tuple[Assumption, ...] = (*BOOT_PARTITION, *ROOT_SYSTEM, *CONFIGURATION, *DEVICES, *FIRST_BOOT)
"""All assumptions, in the order of the list."""

__all__ = ["ASSUMPTIONS", "Assumption", "Finding", "StockImage", "examine", "facts", "listing"]
