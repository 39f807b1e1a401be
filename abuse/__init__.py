"""A campaign against this project's own commands: broken inputs, kills, two commands at once.

python -m abuse --out DIR      what it promises and counts: docs/reliability.md
"""
