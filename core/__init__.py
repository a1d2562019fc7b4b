"""The engine of Self-NPO Studio. Importing this package loads nothing heavy."""

__version__ = "0.3.0"
