"""Readers of slides, one per library."""
