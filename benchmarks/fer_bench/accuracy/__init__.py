"""Accuracy of a model on one split of a data set, and of a bundle's variants against its float32."""

from fer_bench.accuracy.evaluation import Evaluation, evaluate, evaluate_logits, run_on_split, share, split_of

__all__ = ["Evaluation", "evaluate", "evaluate_logits", "run_on_split", "share", "split_of"]
