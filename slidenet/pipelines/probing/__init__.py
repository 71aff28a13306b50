"""Probes on the bags of a cohort: the floor beside every network, or the model itself."""
