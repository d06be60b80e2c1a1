"""Readers of FER2013 and other image sets; ``fer_train.data.dataset.load_dataset`` selects one."""
