"""Temperature and throttling of the processor, and the search budget that they leave."""
