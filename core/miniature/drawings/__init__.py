"""The world of drawings: one or two things everybody knows, as six icon sets draw them, on a coloured ground."""
