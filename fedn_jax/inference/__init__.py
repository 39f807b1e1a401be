"""Trained folds on a new video."""
