"""Image files and arrays as uint8 grey images, and resampling."""
