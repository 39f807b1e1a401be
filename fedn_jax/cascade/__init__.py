"""Spot, then recognise: a recogniser names the intervals that a trained run has spotted (FEDN, Table 2)."""
