"""Intervals, tests and curves: bootstrap by patient, DeLong, Kaplan-Meier, proportions."""
