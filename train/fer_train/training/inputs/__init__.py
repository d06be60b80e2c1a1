"""What a training step reads: augmented images, their targets, and the predictions of teachers."""
