"""The command ``fedn``: one file per command, or per group of commands; ``main`` puts them together."""
