"""Trainings: folders that a detached process writes and everyone else reads."""
