"""The share of a cohort that one call takes, and the processes that do its work on one machine."""
