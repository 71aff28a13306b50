"""The parts of the one report: each reads what a folder holds and says what it lacks."""
