"""Simple models on frozen slide embeddings."""
