"""Light through a slide: glass, ground, stain, ink and outlines, measured in optical density."""
