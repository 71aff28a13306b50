"""How the slides of a run are cut: its settings as objects, made before any slide is opened."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slidenet.core.checks import check_share
from slidenet.core.provenance import Identity, identity_hash, software_version
from slidenet.core.records import WHOLE_PIXEL_READING, SlideRow, TileGeometry
from slidenet.pipelines.settings import PreprocessSettings
from slidenet.pipelines.tissue.drawn import check_drawn_settings, tissue_of_slide
from slidenet.pipelines.tissue.segmenter import segmenter_of
from slidenet.slides import READERS, Slide, check_reading, check_tile_settings, plan_tiles
from slidenet.stores.objects import name_of_slide
from slidenet.tiling import FILTERS, BlankFilter, TileFilter, plan_as_cut, tiling_identity
from slidenet.tissue import (
    AllSegmenter,
    ChosenRegions,
    DrawnOut,
    PictureSegmenter,
    Segmenter,
    Tissue,
    check_placed,
    find_region_file,
    segmenter_identity,
    tissue_as_cut,
)


@dataclass(frozen=True, slots=True)
class Tiler:
    """Settings turned into the objects that do the work; built before any slide is opened.

    Attributes:
        settings: The settings.
        segmenter: What finds tissue where no GeoJSON is given.
        filters: What drops tiles.
        judges_cut_tiles: Whether the segmenter also judges tile images, which are otherwise taken
            as they were cut.
        blank_asked: Whether the user said if blank tiles are dropped; where nobody did, those of
            tile images that are taken as they were cut stay.
    """

    settings: PreprocessSettings
    segmenter: Segmenter
    filters: tuple[TileFilter, ...]
    judges_cut_tiles: bool = False
    blank_asked: bool = True

    @classmethod
    def of(cls, settings: PreprocessSettings, *, named: bool = True) -> "Tiler":
        """Refuses settings that contradict each other.

        Args:
            settings: The settings.
            named: Whether the user named their segmenter, if there is one.

        Raises:
            ConfigError: A setting is out of range or does not belong to the segmenter.
        """
        settings.how_to_open()
        settings.declared_tiles()
        stride_px = settings.tile_size_px if settings.stride_px is None else settings.stride_px
        check_tile_settings(settings.target_mpp, settings.tile_size_px, stride_px)
        check_share(min_tissue_fraction=settings.min_tissue_fraction)
        check_reading(_reading(settings), settings.shrinking)
        if settings.reader is not None:
            READERS[settings.reader]  # an unknown one now, not once per slide
        segmenter = segmenter_of(settings)
        check_drawn_settings(settings)
        drop_blank, blank_asked = settings.drop_blank, settings.drop_blank is not None
        if drop_blank is None:  # fixed levels must not undo what a finer judge has found
            pale = isinstance(segmenter, PictureSegmenter) and segmenter.finds_pale
            drop_blank = not pale or settings.tissue_geojson is not None
        settings = replace(settings, drop_blank=drop_blank)
        drop = {
            "blank": drop_blank,
            "pen": settings.drop_penned,
            "blur": settings.drop_blurred,
        }
        filters = tuple(FILTERS[name]() for name, wanted in drop.items() if wanted)
        judges_cut_tiles = named and settings.segmenter not in (None, AllSegmenter.name)
        return cls(settings, segmenter, filters, judges_cut_tiles, blank_asked)

    def geometry(self, slide: Slide) -> TileGeometry:
        """How tiles lie on `slide`.

        Raises:
            ResolutionError: Other tiles were asked for than those of a folder of tile images.
        """
        if slide.cut_tiles is not None:
            default = PreprocessSettings()
            asked = {
                name: getattr(self.settings, name)
                for name in ("target_mpp", "tile_size_px")
                if getattr(self.settings, name) != getattr(default, name)
            }
            return plan_as_cut(
                slide,
                asked,
                stride_px=self.settings.stride_px,
                reading=_reading(self.settings),
            )
        return plan_tiles(
            slide,
            target_mpp=self.settings.target_mpp,
            tile_size_px=self.settings.tile_size_px,
            stride_px=self.settings.stride_px,
            allow_upsampling=self.settings.allow_upsampling,
            reading=_reading(self.settings),
            shrinking=self.settings.shrinking,
        )

    def drawn_tissue(self, slide: Slide, slide_id: str) -> Tissue | None:
        """Tissue the user drew for this slide, or tiles as they were cut.

        Returns:
            None when the segmenter is to find it.

        Raises:
            SlideError: Nothing was drawn for this slide, or its tile images have no places.
        """
        asked = self.settings
        if slide.cut_tiles is not None:
            if self._taken_as_cut(slide):
                return tissue_as_cut(slide)
            check_placed(slide, "--tissue-geojson" if asked.tissue_geojson else "--segmenter")
        return tissue_of_slide(asked, slide, slide_id)

    def said_of_cut(self, slide: Slide) -> str:
        """What the tiles of a folder of tile images are; they need not be as the settings say."""
        cut, asked = slide.cut_tiles, self.settings
        if cut is None:
            return ""
        text = f"; tiles as cut: {cut.tile_size_px} px at {cut.tile_mpp:g} mpp"
        if (cut.tile_size_px, cut.tile_mpp) == (asked.tile_size_px, asked.target_mpp):
            return text
        return f"{text}, not {asked.tile_size_px} px at {asked.target_mpp:g} mpp"

    def choosing(self, slide: Slide) -> dict[str, Any]:
        """How tiles of this slide are chosen: keywords of `choose_tiles`."""
        filters, cut = self.filters, slide.cut_tiles
        if not self.blank_asked and self._taken_as_cut(slide):
            filters = tuple(one for one in filters if one.name != BlankFilter.name)
        return {
            "min_tissue_fraction": self.settings.min_tissue_fraction,
            "filters": filters,
            "reader": self.reader,
            "min_region_fraction": self.settings.min_region_fraction,
            "stride_asked": cut is None
            or not cut.stride_guessed
            or self.settings.stride_px is not None,
        }

    def identity(
        self,
        slide: Slide,
        geometry: TileGeometry,
        drawn: Tissue | None,
        regions: ChosenRegions | None,
        out: DrawnOut | None,
    ) -> Identity:
        """The identity the tile set will carry, before tissue is searched for."""
        tissue = segmenter_identity(self.segmenter) if drawn is None else drawn.identity
        return tiling_identity(
            geometry,
            tissue if out is None else out.identity(tissue),
            icc=slide.icc_applied,
            regions=regions,
            **self.choosing(slide),
        )

    def asked_digest(self, row: SlideRow) -> str:
        """A digest of all that decides the tiles of a slide, but for what the slide holds.

        Args:
            row: What the manifest says of the slide.

        Raises:
            SlideError: What was drawn for it cannot be found without doubt.
        """
        settings = {
            name: str(value)
            for name, value in vars(self.settings).items()
            if name not in _SAYS_NOTHING_OF_TILES
        }
        folders = (
            self.settings.tissue_geojson,
            self.settings.regions,
            self.settings.exclude_regions,
        )
        asked: Identity = {
            "version": software_version("slidenet"),
            "settings": settings,
            "segmenter": segmenter_identity(self.segmenter),
            "filters": [one.identity() for one in self.filters],
            "judges_cut_tiles": self.judges_cut_tiles,
            "blank_asked": self.blank_asked,
            "reader": self.reader,
            "mpp": None if (mpp := row.declared_mpp()) is None else str(mpp),
            "tiles": [row.tile_mpp, row.tile_frame],
            "sha256": row.sha256,
            "drawn": [_digest_of_drawn(folder, row) for folder in folders],
        }
        return identity_hash(asked)

    def _taken_as_cut(self, slide: Slide) -> bool:
        drawn = self.settings.tissue_geojson is not None
        return slide.cut_tiles is not None and not drawn and not self.judges_cut_tiles

    @property
    def reader(self) -> Identity | None:
        """Name and origin of the slide reader the user named, for the identity."""
        name = self.settings.reader
        return None if name is None else {"name": name, **READERS.plugin_identity(name)}


_SAYS_NOTHING_OF_TILES = {
    "isolate", "memory_limit_gb", "cpu_limit_s", "slide_timeout", "max_unreadable", "allow_code",
    "cache", "cache_limit",
}  # fmt: skip


def _digest_of_drawn(folder: Path | None, row: SlideRow) -> str | None:
    """What was drawn for a slide, as a digest; None where there is nothing."""
    if folder is None:
        return None
    path = find_region_file(folder, row.slide_id, name_of_slide(row.slide_path))
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()


def _reading(settings: PreprocessSettings) -> int:
    return WHOLE_PIXEL_READING if settings.reading is None else settings.reading
