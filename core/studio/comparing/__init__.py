"""Renders comparisons and grids, and keeps their pictures."""
