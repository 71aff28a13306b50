"""Verbs that look and change nothing: at a slide, its costs, files, encoders, this machine."""
