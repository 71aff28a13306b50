"""The report of an evaluation: its numbers, words and figures."""
