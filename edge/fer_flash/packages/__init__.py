"""Find the system packages that FER-Edge needs and an image lacks, fetch them with apt, and cache them."""

from fer_flash.packages.apt_sources import AptSources, read_apt_sources
from fer_flash.packages.collect import PICAMERA2, SystemPackages, collect_packages, companions, packages_folder
from fer_flash.packages.deb import Deb
from fer_flash.packages.dpkg_status import STATUS, InstalledPackage, installed_packages

__all__ = [
    "PICAMERA2",
    "STATUS",
    "AptSources",
    "Deb",
    "InstalledPackage",
    "SystemPackages",
    "collect_packages",
    "companions",
    "installed_packages",
    "packages_folder",
    "read_apt_sources",
]
