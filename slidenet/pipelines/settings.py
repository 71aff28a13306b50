"""The settings of the verbs on slides: one typed place that flags, YAML and Python share.

Field names become flags (`target_mpp` -> `--target-mpp`), docstrings become their help. In Python a
verb takes a settings object, or its fields as keywords, or both. What can change numbers in a file
goes into its identity; the rest (batch size, readers, device) does not.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_type_hints

from slidenet.core.checks import check_positive, check_share
from slidenet.core.errors import ConfigError
from slidenet.core.records import RegionBy, SlideRow
from slidenet.core.registry import Registry
from slidenet.slides.isolation import can_isolate, check_isolation
from slidenet.slides.limits import LIMITS
from slidenet.slides.tile_images.declaration import TileDeclaration

S = TypeVar("S")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)  # so that these flags come last
class OpeningSettings:
    """Where a slide is opened, what it may cost, and how much of it may be lost.

    Args:
        isolate: Open and read slides in a process of their own, so that a damaged one is one failed
            slide whatever it does to a library; default: on, where the system can limit a process.
        memory_limit_gb: Memory that opening and reading one slide may take.
        cpu_limit_s: Seconds of CPU time that opening a slide and making its overview may take.
            Large files get more by themselves: of 8 s, 1 s more for each MB stored beyond 16 MB.
        slide_timeout: Seconds on the clock that one step (preprocess, embed-tiles, export-tiles)
            may spend on one slide; then it fails, and the others go on. Default: no limit.
        max_unreadable: Share of a slide's tiles that may be unreadable; with more the slide fails
            (but one tile always may, unless this is 0). A later run reads only them again.
    """

    isolate: bool = can_isolate()
    memory_limit_gb: float = LIMITS.max_memory_bytes / 1e9
    cpu_limit_s: float = LIMITS.max_open_cpu_s
    slide_timeout: float | None = None
    max_unreadable: float = 0.01

    def how_to_open(self) -> dict[str, Any]:
        """Keywords of `open_slide`.

        Raises:
            ConfigError: A limit is not above zero, `max_unreadable` is no share, or no process can
                be limited here.
        """
        check_share(max_unreadable=self.max_unreadable)
        check_positive(memory_limit_gb=self.memory_limit_gb, cpu_limit_s=self.cpu_limit_s)
        if self.slide_timeout is not None:
            check_positive(slide_timeout=self.slide_timeout)
        if self.isolate:
            check_isolation()
        elif not can_isolate():
            _log.info("slides are read in this process: the system cannot limit another")
        limits = replace(
            LIMITS,
            max_memory_bytes=round(self.memory_limit_gb * 1e9),
            max_open_cpu_s=self.cpu_limit_s,
        )
        return {
            "isolate": self.isolate,
            "limits": limits,
        }


@dataclass(frozen=True, kw_only=True)  # so that these flags come last
class SegmenterSettings:
    """What finds tissue, and its settings; default of each setting: the segmenter's own.

    Args:
        segmenter: How tissue is found: optical_density (above the slide's own glass), otsu
            (luminance), saturation (HSV), all (whole slide), model (a network of your own), or the
            name or import path of a segmenter of another package; default: what the output folder
            was begun with, else optical_density.
        segment_mpp: Resolution of the picture in which tissue is looked for, in microns per pixel.
        min_area_um2: Smallest piece of tissue kept, in square microns.
        max_hole_um2: Holes in tissue up to this area are filled, in square microns.
        black_level: Pixels whose brightest channel is below this are scanner black (borders,
            unscanned area); 0 turns this off.
        sensitivity: Of optical_density: density above the glass that makes a pixel tissue, in
            standard deviations of the glass.
        min_contrast: Least difference between the two sides of Otsu's threshold, of 255; what
            differs less is noise.
        smooth_um: Of otsu: width (standard deviation) of the smoothing, in microns; 0: none.
        threshold: Of saturation: least saturation of tissue, of 255, instead of Otsu's choice.
        median_um: Of saturation: diameter of the filter that removes speckle, in microns.
        closing_um: Of saturation: gaps up to this width are closed, in microns.
        segmenter_weights: Of model, a segmentation network of your own: file of its weights.
        segmenter_class: Of model: import path of the network's class (a torch.nn.Module).
        segmenter_settings: Settings of a segmenter of another package, or further ones of model
            (mean, std, tile_px, ...), as a mapping.
        allow_code: Let segmenter_weights be a TorchScript archive, which is a program, and run it.
    """

    segmenter: str | None = None
    segment_mpp: float | None = None
    min_area_um2: float | None = None
    max_hole_um2: float | None = None
    black_level: int | None = None
    sensitivity: float | None = None
    min_contrast: float | None = None
    smooth_um: float | None = None
    threshold: int | None = None
    median_um: float | None = None
    closing_um: float | None = None
    segmenter_weights: Path | None = None
    segmenter_class: str | None = None
    segmenter_settings: dict[str, Any] | None = None
    allow_code: bool = False


@dataclass(frozen=True)
class PreprocessSettings(SegmenterSettings, OpeningSettings):
    """How tissue is found and cut into tiles.

    Args:
        mpp: Microns per pixel of level 0 of every slide, instead of what the files say; a value in
            the manifest wins.
        target_mpp: Resolution of the tiles, in microns per pixel.
        tile_size_px: Side of a tile at target_mpp, in pixels.
        stride_px: Step between tiles at target_mpp, in pixels; default: tile_size_px (no overlap).
        tissue_geojson: Folder of tissue drawn or edited by hand, used instead of the segmenter: a
            file per slide, {slide_id} or the slide file's name with .geojson, .json, .geojson.gz
            (QuPath) or .xml (ASAP).
        tissue_class: Only drawn regions of this class, and of those derived from it, count as
            tissue; default: all of them.
        annotation_frame: Where GeoJSON has its (0, 0): qupath, the corner of what QuPath shows (the
            slide's bounds), or level0, the corner of the whole scan (QuPath's --no-crop).
        exclude_regions: Folder of files as in tissue_geojson, of as many slides as need one: the
            regions in them that exclude (Ignore*, artefacts, exclude_classes) are taken off the
            tissue, whatever found it; other regions do not count.
        exclude_classes: Classes of drawn regions, separated by commas, whose area is taken out,
            besides Ignore* and artefacts, which always are.
        regions: Folder of drawn regions, a file per slide as in tissue_geojson: only tiles that lie
            in a region are kept, and each records in which one it mostly lies, and how much.
        region_classes: Only regions of these classes, separated by commas, and of those derived
            from them; default: all regions that have a class.
        region_by: What regions are told apart by: class; name, as a person called each; or core,
            one region per core of a tissue microarray.
        min_region_fraction: A tile is kept when at least this share of it lies in one region.
        min_tissue_fraction: A tile is kept when at least this share of it is tissue.
        drop_blank: Drop tiles whose pixels are nearly all white or black by fixed levels; default:
            yes, but not with a segmenter that finds tissue as pale as that (optical_density,
            model), nor where tile images are taken as they were cut.
        drop_blurred: Drop tiles that are out of focus.
        drop_penned: Drop tiles covered by marker ink.
        allow_upsampling: Accept slides coarser than target_mpp and enlarge their pixels.
        icc: Apply the slide's embedded colour profile.
        reading: How tiles are read: 2, whole pixels of the level read; 1, as earlier versions and
            other tools do, blended where a tile starts between two pixels; default: 2, but 1 where
            the output folder was begun so.
        tile_mpp: Of folders of tile images, which are taken as they were cut: microns per pixel of
            the images; the column tile_mpp of the manifest wins.
        tile_frame: Of folders of tile images, what the places in their names (or in a CSV) count:
            level0 (pixels of level 0 of the slide), tile (pixels of the images), grid (columns and
            rows) or none (no places); the column tile_frame of the manifest wins.
        shrinking: How pixels are made fewer: area (averaged), or jpeg (by the decoder of JPEG
            tiles: less work, slightly other pixels).
        reader: Who reads the slides: tiled, openslide, flat, fastslide (a package to be
            installed), or the name or import path of a reader of another package; default: the
            first of slidenet's own that knows the file.
    """

    mpp: float | None = None
    target_mpp: float = 0.5
    tile_size_px: int = 256
    stride_px: int | None = None
    tissue_geojson: Path | None = None
    tissue_class: str | None = None
    annotation_frame: Literal["qupath", "level0"] = "qupath"
    exclude_regions: Path | None = None
    exclude_classes: Sequence[str] | None = None
    regions: Path | None = None
    region_classes: Sequence[str] | None = None
    region_by: RegionBy = "class"
    min_region_fraction: float = 0.1
    min_tissue_fraction: float = 0.1
    drop_blank: bool | None = None
    drop_blurred: bool = False
    drop_penned: bool = False
    allow_upsampling: bool = False
    icc: bool = False
    reading: int | None = None
    tile_mpp: float | None = None
    tile_frame: Literal["level0", "tile", "grid", "none"] | None = None
    shrinking: Literal["area", "jpeg"] = "area"
    reader: str | None = None

    def declared_tiles(self, row: SlideRow | None = None) -> TileDeclaration:
        """What is declared of a slide that is a folder of tile images.

        Args:
            row: Of the manifest, which wins.

        Raises:
            ConfigError: A resolution that is not above zero, or an unknown frame.
        """
        own = TileDeclaration(self.tile_mpp, self.tile_frame)
        if row is None:
            return own
        return TileDeclaration(row.tile_mpp or own.tile_mpp, row.tile_frame or own.frame)


@dataclass(frozen=True)
class EmbedTilesSettings(OpeningSettings):
    """How tiles become features.

    Args:
        encoder: Name of the tile encoder (`slidenet encoders` lists them), timm/NAME, or the name
            or import path of an encoder of another package.
        weights: Local weights file of the encoder, instead of the hub or its cache.
        precision: Arithmetic of the encoder: fp32, bf16 or fp16; default: the model's own.
        feature_dtype: How features are stored.
        engine: What runs the encoder: torch, openvino (in fp32 on a CPU; up to twice as fast), or
            auto: what the output folder was begun with, else the faster one that agrees with torch.
        batch_size: Tiles per forward pass; default: what suits the engine.
        num_readers: Threads that read tiles; default: one per core, 2 to 16.
        device: Where the encoder runs: auto, cpu, cuda or cuda:N.
        reader: Who reads the slides, the same as in preprocess.
    """

    encoder: str = "efficientnet_lite0"
    weights: Path | None = None
    precision: Literal["fp32", "bf16", "fp16"] | None = None
    feature_dtype: Literal["float16", "float32"] = "float16"
    engine: Literal["auto", "torch", "openvino"] = "auto"
    batch_size: int | None = None
    num_readers: int | None = None
    device: str = "auto"
    reader: str | None = None


@dataclass(frozen=True)
class ExportTilesSettings(OpeningSettings):
    """How tiles are written as images.

    Args:
        shards: Write WebDataset shards (tar files) instead of a folder of images per slide.
        image_format: png keeps every pixel; jpeg takes a quarter of the room.
        quality: Of jpeg, 1 to 100.
        shard_mb: Largest size of a shard, in megabytes.
        region_classes: Only tiles that lie in these drawn regions (`--regions` of preprocess), by
            the names that were recorded, separated by commas; default: all tiles.
        by_region: Put the tiles of each region into a folder of its name.
        reader: Who reads the slides, the same as in preprocess.
    """

    shards: bool = False
    image_format: Literal["png", "jpeg"] = "png"
    quality: int = 90
    shard_mb: float = 256.0
    region_classes: Sequence[str] | None = None
    by_region: bool = False
    reader: str | None = None


@dataclass(frozen=True)
class EmbedSlidesSettings:
    """How the features of a slide become one vector.

    Args:
        recipe: mean or mean_std (no weights needed), gigapath, or the LongNet slide encoder as
            another tool runs it (`slidenet.slide_encoders.RECIPES` lists them); or the name or
            import path of a slide encoder of another package.
        slide_weights: Local slide-encoder checkpoint, instead of the hub or its cache.
        device: Where the slide encoder runs: auto, cpu, cuda or cuda:N.
    """

    recipe: str = "mean"
    slide_weights: Path | None = None
    device: str = "auto"


@dataclass(frozen=True)
class RunSettings(EmbedSlidesSettings, EmbedTilesSettings, PreprocessSettings):
    """The settings of all three steps from slides to slide embeddings.

    Args:
        device: Where both encoders run: auto, cpu, cuda or cuda:N.
    """

    def step(self, kind: type[S]) -> S:
        """Those of one step, as its own class."""
        names = [f.name for f in fields(kind)]  # type: ignore[arg-type]  # a settings dataclass
        return kind(**{name: getattr(self, name) for name in names})


def settings_with(kind: type[S], settings: S | None, keywords: Mapping[str, Any]) -> S:
    """The settings a verb was called with.

    Args:
        kind: Class of the settings.
        settings: As given; None: the defaults.
        keywords: Fields that replace those of `settings`; paths may be texts.

    Raises:
        UnknownNameError: There is no such field.
        ConfigError: The settings are those of another verb.
    """
    if settings is not None and not isinstance(settings, kind):
        raise ConfigError(
            f"settings of the class {type(settings).__name__}", expected=f"a {kind.__name__}"
        )
    known: Registry[Any] = Registry(f"field of {kind.__name__}")
    for name, hint in get_type_hints(kind).items():
        known.add(name, hint)
    values = {
        name: Path(value) if Path in get_args(known[name]) and isinstance(value, str) else value
        for name, value in keywords.items()
    }
    given: Any = kind() if settings is None else settings
    found: S = replace(given, **values)
    return found


def divide_keywords(
    keywords: Mapping[str, Any], settings: Mapping[str, tuple[Mapping[str, Any], Collection[str]]]
) -> dict[str, dict[str, Any]]:
    """Adds each keyword to the settings it belongs to.

    Args:
        keywords: As given to a verb.
        settings: By name: what was given of them, and the names they know.

    Raises:
        UnknownNameError: No settings know such a name.
        ConfigError: A setting is given twice.
    """
    found = {group: dict(given) for group, (given, _) in settings.items()}
    known: Registry[str] = Registry("setting")
    for group, (_, names) in settings.items():
        for name in names:
            if name not in known:
                known.add(name, group)
    for name, value in keywords.items():
        group = known[name]
        if name in found[group]:
            raise ConfigError(
                f"{name} is given twice, as a keyword and in {group}", expected="one of them"
            )
        found[group][name] = value
    return found
