"""From level-0 coordinates to cells of the position lattice, and what must hold before encoding."""
