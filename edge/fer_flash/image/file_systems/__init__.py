"""The file systems of a card image, FAT and ext4, read and written without mounting them."""
