"""Tiles of slides as image files: which go together, and how they are written."""
