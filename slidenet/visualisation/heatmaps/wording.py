"""What a picture of a map says: the method, what colours mean, what it must not be read as."""

from collections.abc import Mapping

from slidenet.core.text import count_of
from slidenet.stores.tile_maps import METHODS, TileMap, TileMaps
from slidenet.visualisation.style import capital, in_figure, short_name

CONTROLS = ("control", "untrained")
SPREAD = "spread"
"""Name of the map of how far the members of an ensemble disagree, before the method's."""
MOST_SUMS = 4
"""Bags of a slide whose sums are said."""
MOST_OF_ID = 56
"""Letters of a slide's id in a title."""
UNIT_WORDS = {"logit": "logits", "share": "share of all tiles", "distance": "distance"}
CAUTIONS = {
    "single_tile": "Blind to what the model makes of several tiles together.",
    "occlusion": "Exact for the model, but where several tiles say the same, the others take over "
    "when one is gone: it then has little weight, or the wrong sign.",
    "occlusion_regions": "Of evidence that lies elsewhere, too, the model loses little: such "
    "regions have little weight, or the wrong sign.",
}
"""What a method cannot show, though its maps are evidence; measured in docs/explanation.md."""
NOT_EVIDENCE = "where it looked, not evidence"
CONTROL = "a control, not evidence"
DISAGREEMENT = "where members disagree"


def is_control(tile_map: TileMap) -> bool:
    """Whether the map is there to be compared with, and says nothing of the model."""
    return tile_map.method.partition(":")[0] in CONTROLS


def is_spread(tile_map: TileMap) -> bool:
    """Whether the map says how far the members of an ensemble disagree about each tile."""
    return tile_map.method.partition(":")[0] == SPREAD


def short_method(tile_map: TileMap) -> str:
    """The name of the method as people say it: `single tile`, `untrained: evidence`."""
    return short_name(tile_map.method.replace("_", " ").replace(":", ": "))


def heading(tile_map: TileMap) -> str:
    """What the map shows of what: `Evidence for “tumour”: what each tile adds to the logit`."""
    first, _, second = tile_map.method.partition(":")
    said = METHODS.get(first, first)
    if tile_map.details.get("relative"):  # a value and a risk are no logits
        said = said.replace("the logit", "the output")
    words = "" if said == first else f": {said}"
    words += f" ({short_name(second.replace('_', ' '))})" if second else ""
    target = "" if first == "control" else f" for “{short_name(tile_map.target)}”"
    return f"{capital(short_name(first.replace('_', ' ')))}{target}{words}"


def warning(tile_map: TileMap) -> str:
    """What a map that is no evidence is called wherever it is shown; empty for evidence."""
    if tile_map.is_evidence:
        return ""
    if is_spread(tile_map):
        return DISAGREEMENT
    return CONTROL if is_control(tile_map) else NOT_EVIDENCE


def caution(tile_map: TileMap) -> str:
    """What the method cannot show, as a sentence; empty where nothing is known against it."""
    return CAUTIONS.get(tile_map.method, "") if tile_map.is_evidence else ""


def long_warning(tile_map: TileMap) -> str:
    """The warning with its reason, as a sentence; empty for evidence."""
    words = capital(warning(tile_map))
    if not words:
        return ""
    if is_spread(tile_map):
        return f"{words}: standard deviation of what the members of the ensemble say, no evidence."
    if is_control(tile_map):
        return f"{words}: a map of the model has to look better than this one."
    if tile_map.signed:
        return f"{words}: tiles that matter may be missing from it."
    return f"{words}: it has no sign, and may be high on tiles that speak against."


def sum_words(maps: TileMaps, tile_map: TileMap) -> str:
    """What the tiles add up to, what else the model adds, and the logit: a line for each bag.

    Without it a slide whose tiles all speak for a target, and which is not called so, looks like a
    mistake. Empty for a map that is no sum.
    """
    if tile_map.method != "evidence":
        return ""
    details = tile_map.details.get("bags")
    by_bag = details if isinstance(details, Mapping) else dict.fromkeys(maps.prediction, None)
    lines = []
    for bag_id, of_bag in by_bag.items():
        said, bag = of_bag or tile_map.details, maps.prediction.get(bag_id)
        logits = bag.get("logits") if isinstance(bag, Mapping) else None
        logit = logits.get(tile_map.target) if isinstance(logits, Mapping) else None
        total = said.get("sum") if isinstance(said, Mapping) else None
        if (
            not isinstance(said, Mapping)
            or said.get("counted_from") != "zero"
            or not isinstance(total, float | int)
            or not isinstance(logit, float | int)
        ):
            continue
        whose = f" of {bag_id}" if len(by_bag) > 1 else ""
        lines.append(
            f"Evidence of all tiles{whose}: {total:+.2f}; of what is no tile (bias, covariates): "
            f"{logit - total:+.2f}; together the logit: {logit:+.2f}."
        )
    return "\n".join(lines[:MOST_SUMS])


def ends(tile_map: TileMap) -> tuple[str, str]:
    """What the first and the last colour mean."""
    if not tile_map.signed:
        return "little", "much"
    target = short_name(tile_map.target)
    if tile_map.details.get("relative"):
        return f"lowers “{target}”", f"raises “{target}”"
    return f"against “{target}”", f"for “{target}”"


def unit_words(tile_map: TileMap) -> str:
    """The unit of its values, with what they are relative to."""
    if tile_map.details.get("relative") and tile_map.unit == "logit":
        return "output of the model, from the slide's median"  # of a value or a log hazard
    return UNIT_WORDS.get(tile_map.unit, in_figure(tile_map.unit))


def tiles_without_value(number: int) -> str:
    """What hatching means."""
    return f"{count_of('tile', number)} without a value (not readable, or in no bag)"
