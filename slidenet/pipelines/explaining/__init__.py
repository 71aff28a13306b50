"""Maps of the slides of a cohort: which are made, of which bags, and what is written of them."""
