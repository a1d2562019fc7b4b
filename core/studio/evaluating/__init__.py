"""Evaluations: folders in which settings are compared over many prompts, with scorers, controls and a verdict."""
