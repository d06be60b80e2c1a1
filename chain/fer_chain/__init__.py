"""``fer-edge chain``: all steps from the data to the device by one file, each only when what it depends on changed."""
