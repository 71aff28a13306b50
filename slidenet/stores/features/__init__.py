"""Features of slides on disk: written through a spool, read lazily."""
