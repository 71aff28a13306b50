"""Drawings of the feature space of a cohort: colours of clusters, layouts, rows of tiles."""
