"""The sparse attention patterns, one per file."""
