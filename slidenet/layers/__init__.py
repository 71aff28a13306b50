"""Floor 1: what several models share."""
