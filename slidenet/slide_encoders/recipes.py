"""Named, versioned recipes: what "the GigaPath embedding of a slide" means, per tool.

Five tools call five different vectors by that name. A recipe pins pooling, state, coordinate frame
and precision; its name and version are stored with every embedding. Changing a recipe's numbers
means raising its version.
"""

from dataclasses import dataclass
from typing import Literal

from slidenet.core.arrays import IntArray
from slidenet.core.provenance import Identity
from slidenet.core.records import BLENDED_READING, WHOLE_PIXEL_READING
from slidenet.core.registry import Registry
from slidenet.slide_encoders.coords.grid import grid_cells
from slidenet.slide_encoders.longnet.config import Pooling

State = int | Literal["last", "final"]
Precision = Literal["float32", "float16", "autocast-float16", "autocast-bfloat16"]


@dataclass(frozen=True, slots=True)
class EmbeddingRecipe:
    """How tile features become one slide embedding.

    Attributes:
        name: As given to `--recipe`.
        version: Raised whenever the numbers change.
        pooling: "class_token", or "mean" over tiles.
        state: Which state is pooled: i (after block i, through `norm` only), "last" (the same after
            the last block) or "final" (after the last block, through `encoder.layer_norm`, pooled,
            then `norm`).
        frame: How level-0 coordinates become lattice cells, a name in `FRAMES`.
        precision: "float16" means weights and activations in half; "autocast-..." keeps weights,
            norms and the residual stream in float32.
        reading: How the tool's tiles are read, one of `core.records.READINGS`: what `slidenet run`
            makes tiles with where nothing is said. Tiles carry it themselves, so no identity here.
        strict: Whether coordinates that break the contract are refused (ours) or, where the tool
            itself lives with it, only warned about.
        why: Where the recipe comes from.
    """

    name: str
    version: int
    pooling: Pooling
    state: State
    frame: str
    precision: Precision
    reading: int
    strict: bool
    why: str

    @property
    def label(self) -> str:
        """Its name, version and frame: what pooling and state, which are seen, do not say."""
        return f"{self.name}, version {self.version}, cells of frame {self.frame}"

    def identity(self) -> Identity:
        """Every setting that changes the numbers, as JSON."""
        return {
            "name": self.name,
            "version": self.version,
            "pooling": self.pooling,
            "state": self.state,
            "frame": self.frame,
            "precision": self.precision,
        }

    def grid_cells(
        self,
        coords: IntArray,
        *,
        slide_mpp: float,
        tile_size_px: int = 256,
        target_mpp: float = 0.5,
        slide: str = "",
    ) -> IntArray:
        """`grid_cells` in this recipe's frame."""
        return grid_cells(
            coords,
            slide_mpp=slide_mpp,
            tile_size_px=tile_size_px,
            target_mpp=target_mpp,
            frame=self.frame,
            slide=slide,
        )


RECIPES: Registry[EmbeddingRecipe] = Registry("slide embedding recipe")


def _add(
    name: str,
    pooling: Pooling,
    state: State,
    frame: str,
    precision: Precision,
    why: str,
    *,
    reading: int = BLENDED_READING,
    strict: bool = False,
    version: int = 1,
) -> None:
    recipe = EmbeddingRecipe(name, version, pooling, state, frame, precision, reading, strict, why)
    RECIPES.add(name, recipe)


_add(
    "gigapath",
    "mean",
    "last",
    "physical",
    "float32",
    "The official notebook with the one thing corrected that its maintainers call wrong: cells of "
    "256 px at 0.5 mpp instead of level-0 pixels. Mean over tiles, because the class token was not "
    "trained in pretraining; the last state, so that at 0.5 mpp it is the notebook's embedding.",
    reading=WHOLE_PIXEL_READING,
    strict=True,
)
_add(
    "gigapath-official",
    "mean",
    "last",
    "level0",
    "autocast-float16",
    "The notebook of prov-gigapath: global_pool, last of all_layer_embed, level-0 px / 256.",
)
_add(
    "trident",
    "mean",
    11,
    "tile_side",
    "autocast-float16",
    "TRIDENT: global_pool, all_layer_embed[11], level-0 px / tile side at level 0.",
)
_add(
    "stamp",
    "mean",
    "final",
    "micron_fp16",
    "float16",
    "STAMP: global_pool, final state, pixels of 256/224 micron, model and coordinates in half.",
)
_add(
    "slide2vec",
    "class_token",
    "final",
    "physical_floor",
    "autocast-float16",
    "slide2vec: class token of the final state, whole pixels at the resolution of the tiles / 256.",
)
_add(
    "lazyslide",
    "class_token",
    "final",
    "level0",
    "float32",
    "LazySlide: class token of the final state, level-0 px / 256.",
)
RECIPES.add_other_names(
    dict.fromkeys(("notebook", "official", "paper", "released"), "'gigapath-official'")
)
