"""Features before a network sees them: scaled, reduced, fused; and what is kept of them."""
