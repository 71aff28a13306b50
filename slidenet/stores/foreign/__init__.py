"""Features files of other tools, read as they are: one file per tool."""
