"""Prepared shards as arrays, a data set as a configuration sees it, and folds (leave one subject out, k-fold)."""
