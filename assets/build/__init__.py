"""Builds everything in `assets/` from a seed: see README.md in this folder for the commands and what they took."""
