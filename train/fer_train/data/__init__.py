"""Data sets: readers of FER2013 and other image sets, splits, labels, audits and exports."""
