"""Textures of tissue by family: amounts of stain over a picture."""

from slidenet.testing.tissue_scenes.textures import fibres, lobules, smooth
from slidenet.testing.tissue_scenes.textures.cells import adipocytes, voronoi

__all__ = ["adipocytes", "fibres", "lobules", "smooth", "voronoi"]
