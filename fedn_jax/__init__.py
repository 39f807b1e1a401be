"""Facial expression detection in long videos (FEDN) in JAX. A package imports itself and those above it here:

core          types and axes, errors, every option and its default, files, text
ops           windows, anchors, targets, losses, NMS: pure functions
formats       CSV, Excel, ELAN, subtitles, the formats of other methods
models        layers, ResNet18, FEDN; a new model is an entry of ``TASKS``
data          shards to arrays, the problem, the folds
engine        the training step, all folds over all devices, checkpoints, prediction
evaluation    matching, mAP, thresholds, protocols, bootstrap, the baselines
inference     detection in a new video
experiments   the paper's numbers and tables, searches for options
reports       tables, figures, timelines, pages
torch_parity  FEDN once more, in PyTorch, and the comparison with it
cli           the command ``fedn``

Videos and annotations become shards in ``data_prep``; a released data set is added in ``data_prep.sheets.datasets``.
"""
