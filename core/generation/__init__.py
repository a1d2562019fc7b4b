"""Rendering comparisons through stock pipelines, and the files that carry their settings."""
