"""The format of a signed release of a model, and the check of a model against its recorded logits."""
