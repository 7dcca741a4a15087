"""A run as observable state: folds events into fields; knows no toolkit."""
