"""Floor 6: what a model looked at, and how features lie to each other."""
