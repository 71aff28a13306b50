"""What became of a tile: one code per tile, from the slide to the file of features."""

OK = 0
"""Its pixels were decoded."""
UNREADABLE = 1
"""Its pixels could not be decoded."""
EMPTY = 2
"""The slide stores no bytes here: the scanner left the place out, or the bytes are lost."""
