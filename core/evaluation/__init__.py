"""Scorers, paired statistics and the procedural world in which the bundled miniature can be measured exactly."""
