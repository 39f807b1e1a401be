"""Finding, following and aligning faces."""
