"""Models as files: bundles, ensembles and checkpoints, written and read with care."""
