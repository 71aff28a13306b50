"""Dilated attention as a few kernels in Triton, for NVIDIA GPUs; imported at the first call."""
