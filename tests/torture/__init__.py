"""Attacks on the program, each a function that tells how often it tried and what failed.

They stand beside the tests, not in the program: they need builders of the tests, patch what they attack, and nobody who
only uses the studio should carry them. `python launch.py torture WHAT --seed N --count N` runs more of the same that the
tests run a few of.
"""
