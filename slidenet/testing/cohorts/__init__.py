"""Generated cohorts of features with labels, clean or with planted faults."""
