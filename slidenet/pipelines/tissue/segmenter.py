"""The segmenter of a run: by its flags, or the one that the output folder was begun with."""

import logging
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from slidenet.core.errors import ConfigError, IdentityMismatchError
from slidenet.core.records import SlideRow
from slidenet.core.text import name_some
from slidenet.pipelines.begun.origins import origins, tile_files
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.settings import PreprocessSettings, SegmenterSettings
from slidenet.tissue import DEFAULT_SEGMENTER, SEGMENTERS, Segmenter, make_segmenter
from slidenet.tissue.as_cut import AS_CUT
from slidenet.tissue.regions import DRAWN
from slidenet.tissue.segmenters.registry import setting_names

_log = logging.getLogger(__name__)

_NO_SETTINGS = ("segmenter", "segmenter_settings")
SEGMENTER_FLAGS = tuple(f.name for f in fields(SegmenterSettings) if f.name not in _NO_SETTINGS)
"""Settings of slidenet's own segmenters, each a flag."""


def segmenter_of(settings: SegmenterSettings) -> Segmenter:
    """The segmenter with the settings that were given.

    Raises:
        UnknownNameError: No segmenter of that name.
        ConfigError: A setting is not one of it, is given twice, or out of range.
    """
    name = settings.segmenter or DEFAULT_SEGMENTER
    known = setting_names(name)
    given: dict[str, Any] = {}
    for flag in SEGMENTER_FLAGS:
        value = getattr(settings, flag)
        if value is None or value is False:
            continue
        if flag not in known:
            flags = ", ".join(f"--{own.replace('_', '-')}" for own in known)
            others = [other for other in SEGMENTERS if flag in setting_names(other)]
            raise ConfigError(
                f"{flag} is {value}, and the segmenter {name!r} has no such setting",
                expected=f"some of {flags}" if known else "no settings with this segmenter",
                remedy=f"leave it out, or pass --segmenter {' or --segmenter '.join(others)}",
            )
        given[flag] = value
    further = settings.segmenter_settings or {}
    if not isinstance(further, dict) or not all(isinstance(key, str) for key in further):
        raise ConfigError(
            f"segmenter_settings is {further!r}", expected="a mapping such as '{name: 1}'"
        )
    for key in further:
        if key in given:
            raise ConfigError(
                f"{key} is {given[key]} and, in --segmenter-settings, {further[key]}",
                expected="one of the two",
            )
    return make_segmenter(name, **given, **further)


def settings_of_folder(
    settings: PreprocessSettings,
    layout: OutputLayout,
    rows: Sequence[SlideRow],
    *,
    overwrite: bool = False,
    quiet: bool = False,
) -> PreprocessSettings:
    """The settings with the segmenter that finds the tissue of these slides.

    Args:
        settings: Where they name none, it is that of the tiles there of these slides, where there
            are none that of all tiles of the folder, else the default. Where tissue is drawn by
            hand, none is needed.
        layout: Paths of the output folder, which need not be there yet.
        rows: The slides of this run.
        overwrite: Whether the tiles of these slides are to be replaced.
        quiet: Whether it is not said that the folder goes on with another than the default.

    Raises:
        IdentityMismatchError: None is asked for, and these tiles are of several, or of one of
            another package, whose code is only run where it is named.
    """
    if settings.segmenter is not None or settings.tissue_geojson is not None:
        return settings
    replaced = {layout.tiles(row.slide_id) for row in rows} if overwrite else set()
    there: dict[str, list[str]] = {}
    kept = (path for path in tile_files(layout) if path not in replaced)
    for slide_id, origin in origins(kept):
        if origin.segmenter not in (None, DRAWN, AS_CUT):
            there.setdefault(str(origin.segmenter), []).append(slide_id)
    own = {row.slide_id for row in rows}
    of_run = {name: of_it for name, ids in there.items() if (of_it := own.intersection(ids))}
    others = sorted(there.keys() - of_run.keys()) if of_run else []
    there = {name: sorted(of_it) for name, of_it in of_run.items()} or there
    if not there:
        return replace(settings, segmenter=DEFAULT_SEGMENTER)
    begun = "; ".join(f"{name}: {name_some(names, most=3)}" for name, names in there.items())
    if len(there) > 1:
        raise IdentityMismatchError(
            f"the tissue of the slides in {layout.root} was found by several segmenters ({begun})",
            expected="one of them by name for these slides",
            remedy=f"pass --segmenter {' or --segmenter '.join(there)}",
        )
    (found,) = there
    if found not in SEGMENTERS:
        raise IdentityMismatchError(
            f"the tissue of the slides in {layout.root} was found by the segmenter {found!r} of "
            "another package, and code of others is run only where it is named",
            expected="a segmenter by name",
            remedy=f"pass --segmenter {found} to go on as begun",
        )
    if others and not quiet:
        _log.warning(
            "the slides of this run that are in %s were begun with the segmenter %s, so the tissue "
            "of the others is found by it, too; slides there that are not of this run have %s",
            *(layout.root, found, name_some(others)),
        )
    elif found != DEFAULT_SEGMENTER and not quiet:
        _log.warning(
            "%s was begun with the segmenter %s, so the tissue of its other slides is found by it, "
            "too; a new output folder gets %s",
            *(layout.root, found, DEFAULT_SEGMENTER),
        )
    return replace(settings, segmenter=found)
