"""Bags whose tiles have no places, and the models that cannot take them."""

from collections.abc import Iterable

from slidenet.core.errors import ConfigError
from slidenet.mil import BagModel
from slidenet.stores import FeatureFile


def check_places(files: Iterable[FeatureFile], network: BagModel, name: str) -> None:
    """Refuses features of tile images without places for a model that goes by places.

    Args:
        files: The features of the slides.
        network: The model.
        name: Its name, for the message.

    Raises:
        ConfigError: Naming the model and the slide.
    """
    if not network.needs_places:
        return
    for file in files:
        if not file.placed:
            raise ConfigError(
                f"the bag model {name!r} goes by where tiles lie, and the tile images that "
                f"{file.path.name} was made of have no places",
                expected="a model for which the order of tiles does not matter, or tiles with "
                "places",
                remedy="take abmil, clam_sb, clam_mb, dsmil, max or mean; or give the places when "
                "the tiles are preprocessed (--tile-frame)",
                slide=file.slide_id,
            )
