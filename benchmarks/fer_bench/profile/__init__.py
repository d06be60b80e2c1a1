"""What a model consists of: its operators and tensors, and what each costs."""
