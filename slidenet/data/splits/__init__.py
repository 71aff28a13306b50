"""Splits of a cohort into train, val and test."""
