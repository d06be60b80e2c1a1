"""What FER-Edge assumes of a Raspberry Pi OS image, each assumption with its source, and whether an image is so.

Nothing is mounted and no root rights are needed: ``make test-real-image IMAGE=…`` prints the list.
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
"""All of them, in the order in which they are listed."""

__all__ = ["ASSUMPTIONS", "Assumption", "Finding", "StockImage", "examine", "facts", "listing"]
