"""Blind studies: people choose between two pictures without knowing which is which. Votes are kept in SQLite. No torch."""
