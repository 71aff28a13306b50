"""Bags: the features files of a cohort, and their tiles as one bag of a slide or patient."""
