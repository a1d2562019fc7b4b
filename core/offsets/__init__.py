"""Weight offsets: low-rank layers, their files, and the row gate that lets each row of a batch carry its own scales."""
