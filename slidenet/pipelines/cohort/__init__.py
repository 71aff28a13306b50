"""Runs one verb over the slides of a cohort."""
