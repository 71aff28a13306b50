"""What finds the tissue of a cohort, and what was found, for people to look through."""
