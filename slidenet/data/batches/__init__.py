"""Batches: which bags go together, in which order, and how they are padded."""
