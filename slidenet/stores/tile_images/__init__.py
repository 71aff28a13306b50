"""Tiles written as image files, or as shards of a WebDataset."""
