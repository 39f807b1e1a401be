"""Faces to features: embedding, conversion of checkpoints, the shipped backbone and how it was trained."""
