"""FEDN, and the modules of FESNet, in PyTorch, written from the papers alone: what ours are checked against.

Nothing here imports the JAX implementation, and nothing of the product imports this package: only the comparison and
its tests do. It needs torch (``pip install torch``). Everything is literal: the attention of a segment runs over the
segment's gathered frames, loss and matching are loops over what the text names. Slow, and meant to be.
"""
