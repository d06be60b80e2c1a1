"""Temperature and throttling of the chip, and the search budget derived from them."""
