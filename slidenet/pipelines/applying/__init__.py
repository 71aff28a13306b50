"""A trained model applied to slides: which bags, the work on each, and what comes of it."""
