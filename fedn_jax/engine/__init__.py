"""Training and prediction: one step, all folds over all devices, checkpoints, the directory of a run."""
