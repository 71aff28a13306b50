"""Public archives: what they and the lists of their portals say of slides, as a manifest."""
