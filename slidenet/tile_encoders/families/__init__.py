"""One file per family of tile encoders; each holds a tuple `SPECS` and is found by its place."""
