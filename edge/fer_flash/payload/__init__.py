"""The payload: the files that install FER-Edge on a device without a network."""
