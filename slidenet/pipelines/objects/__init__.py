"""Slides and outputs that lie in object stores, for verbs that know files alone."""
