"""Read image files and convert arrays to grey images (uint8 [H, W]); resample them."""
