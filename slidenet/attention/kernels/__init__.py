"""Kernels of softmax attention and the choice among them."""
