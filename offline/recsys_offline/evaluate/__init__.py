"""Evaluation: what a bundle would have answered before a holdout, against what happened in it."""
