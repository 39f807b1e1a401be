"""The comparison with PyTorch, level by level: where two implementations differ.

    1 layers       each against PyTorch's own          6 optimiser    Adam, 2,000 steps
    2 forward      every intermediate by name          7 training     100 steps on the same batches
    3 targets      windows, matching: equal            8 detections   decoding, suppression: the same ones
    4 losses       all options                         9 fold         from first weights to metrics
    5 gradients    of every parameter

``levels.run`` runs them, ``report`` shows them, ``weights`` compares on given weights.
"""
