"""What a cohort will cost, or a slide, before anything runs."""
