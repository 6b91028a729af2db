"""The inference log in front of everything that can go wrong: what was sent is stored or counted, always.

`python -m tests.faults` runs all of it and prints the table of docs/inference-log.md.
"""
