"""What there is to choose from: models, offsets, control networks, and how they are loaded and written."""
