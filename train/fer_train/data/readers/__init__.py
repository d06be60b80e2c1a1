"""Readers of FER2013 in the forms it comes in; ``fer_train.data.dataset.load_dataset`` chooses among them."""
