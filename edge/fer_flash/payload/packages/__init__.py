"""Find the system packages that FER-Edge needs and an image lacks, download them with apt, and cache them."""

from fer_flash.payload.packages.apt_sources import AptSources, read_apt_sources
from fer_flash.payload.packages.collect import PICAMERA2, SystemPackages, collect_packages, companions, packages_folder
from fer_flash.payload.packages.deb import Deb

__all__ = [
    "PICAMERA2",
    "AptSources",
    "Deb",
    "SystemPackages",
    "collect_packages",
    "companions",
    "packages_folder",
    "read_apt_sources",
]
