"""Tile features looked at without any model: maps of a cohort, and what is nearest to what."""
