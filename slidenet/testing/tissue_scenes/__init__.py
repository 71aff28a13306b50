"""Generated overviews of slides with known tissue, to judge segmenters by."""

from slidenet.testing.tissue_scenes.kinds import KINDS, make_scene
from slidenet.testing.tissue_scenes.scene import SCENE_MPP, Marks, Scene, score

__all__ = [  # noqa: RUF022 - plain sorted order, as the architecture test asks
    "KINDS",
    "Marks",
    "SCENE_MPP",
    "Scene",
    "make_scene",
    "score",
]
