"""Presets: settings of a comparison as data that people keep and share."""
