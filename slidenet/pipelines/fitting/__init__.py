"""Fits classifiers: plan, checks, fit, search, predictions."""
