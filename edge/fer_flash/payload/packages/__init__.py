"""Find the system packages that FER-Edge needs and an image lacks, download them with apt, and cache them."""
