"""Tiles that somebody else has cut: a folder of images as a slide of its own."""
