"""Make and write Raspberry Pi card images with FER-Edge, and deploy to running devices."""
