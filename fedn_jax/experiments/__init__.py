"""Many runs: the paper's tables and printed numbers, orderings of rows, searches for options."""
