"""Annotations: a table beside your own videos, and the sheets of the released data sets (``datasets``)."""
