"""Kernels that no GPU has run yet; loaded only on request."""
