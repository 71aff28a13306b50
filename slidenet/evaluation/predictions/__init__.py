"""Predictions of a model on labelled bags: the record, its CSV, and the CSVs of others."""
