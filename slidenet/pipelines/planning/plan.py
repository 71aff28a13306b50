"""`slidenet plan`: what a cohort, or one slide of many tiles, takes before anything runs."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal

from slidenet.core.errors import ConfigError
from slidenet.pipelines.cohort.slides import Slides
from slidenet.pipelines.fleet.settings import WHOLE, FleetSettings
from slidenet.pipelines.inspection.pattern_settings import PatternSettings
from slidenet.pipelines.planning.cohort import plan_cohort
from slidenet.pipelines.planning.cohort_plan import CohortPlan
from slidenet.pipelines.planning.one_slide import SlidePlan, plan_slide
from slidenet.pipelines.planning.settings import PlanningSettings
from slidenet.pipelines.settings import RunSettings, divide_keywords, settings_with
from slidenet.tile_encoders import TileEncoder

_OF_ENCODERS = {"bfloat16": "bf16", "float32": "fp32"}
_OF_SLIDES = {"bf16": "bfloat16", "fp32": "float32"}


def plan(
    slides: Slides | None = None,
    out: str | Path | None = None,
    asked: PatternSettings | None = None,
    run: RunSettings | None = None,
    planning: PlanningSettings | None = None,
    *,
    largest: bool = False,
    recursive: bool = False,
    num_tiles: int | None = None,
    shape: str = "gigapath",
    attention: Sequence[str] | None = None,
    gpu_memory_gb: float = 80.0,
    sequence_ranks: int | None = None,
    precision: Literal["bfloat16", "float32", "bf16", "fp16", "fp32"] | None = None,
    checkpoint_activations: bool = False,
    whole_inputs: bool = False,
    settings: dict[str, Any] | None = None,
    tile_encoder: TileEncoder | None = None,
    fleet: FleetSettings = WHOLE,
    **keywords: Any,
) -> CohortPlan | SlidePlan:
    """Say what a cohort, or one slide of many tiles, takes before anything runs.

    With --slides the question is what `slidenet run` of these slides with these settings gives,
    takes and costs: the headers of slides are opened, tissue is found on a few, rates are measured
    here for half a minute, and machines are reckoned from that. Nothing is written at --out.

    With --num-tiles, or with --slides, --out and --largest, the question is what one slide of so
    many tiles takes of the memory of one or several GPUs in a slide encoder.

    Args:
        slides: Manifest slides.csv, or a folder of slides.
        out: Output folder: of the run to come, whose disk is measured; with --largest that of
            `slidenet preprocess`, where tiles are counted.
        asked: Of one slide: settings of the attention patterns; of several patterns each takes
            those it has.
        run: Of a cohort: the settings that the run will have.
        planning: Of a cohort: machines, prices and what is measured.
        largest: Plan for the memory of the largest slide of --slides that has tiles in --out.
        recursive: Of a folder of slides, take those of its subfolders, too.
        num_tiles: Plan for the memory of one slide of so many tiles.
        shape: Of one slide: shape of the slide encoder: gigapath, longnet-24l1024d,
            longnet-12l1536d or longnet-small.
        attention: Of one slide: patterns to compare with dense and ring attention, such as
            dilated,longformer,bigbird; default: the shape's own. Only dilated attention and the two
            run on several GPUs.
        gpu_memory_gb: Of one slide: memory of one GPU, in 10^9 bytes; a tenth is left to the
            driver.
        sequence_ranks: Of one slide: GPUs that share the slide; by default the fewest that can
            train on it with the first pattern.
        precision: Of one slide: bfloat16 (mixed, the default) or float32. Of a cohort: arithmetic
            of the tile encoder: fp32, bf16 or fp16; default: the model's own.
        checkpoint_activations: Of one slide: whether training recomputes blocks instead of keeping
            activations.
        whole_inputs: Of one slide: whether every GPU is given all tile features of the slide, as in
            training.
        settings: Of one slide: settings of a pattern of another package that have no flag, such as
            '{"width": 3}'.
        tile_encoder: A tile encoder made in Python, used instead of what the settings name.
        fleet: Which of the slides count, and how it is told how far it is.
        **keywords: Fields of `PatternSettings`, `RunSettings` or `PlanningSettings`.

    Returns:
        The plan of a cohort, or of one slide.

    Raises:
        ConfigError: Settings of one question are given with the other.
    """
    groups = {"asked": PatternSettings, "run": RunSettings, "planning": PlanningSettings}
    names = {group: [f.name for f in fields(kind)] for group, kind in groups.items()}
    divided = divide_keywords(keywords, {group: ({}, of_it) for group, of_it in names.items()})
    asked = settings_with(PatternSettings, asked, divided["asked"])
    run = settings_with(RunSettings, run, divided["run"])
    planning = settings_with(PlanningSettings, planning, divided["planning"])
    of_one_slide = {
        "shape": shape != "gigapath",
        "attention": attention is not None,
        "gpu_memory_gb": gpu_memory_gb != 80.0,
        "sequence_ranks": sequence_ranks is not None,
        "checkpoint_activations": checkpoint_activations,
        "whole_inputs": whole_inputs,
        "settings": settings is not None,
        **{f.name: getattr(asked, f.name) is not None for f in fields(PatternSettings)},
    }
    if slides is not None and num_tiles is None and not largest:
        _refuse(
            of_one_slide,
            "is of what one slide takes of a GPU's memory, and --slides asks what a cohort takes",
            "add --largest, with --out where the tiles are; or give --num-tiles without --slides",
        )
        # As a flag it is one of the verb's own, and two kinds of encoders have it.
        spelled: Any = _OF_ENCODERS.get(precision or "", precision) or run.precision
        run = replace(run, precision=_OF_ENCODERS.get(spelled, spelled))
        return plan_cohort(
            slides,
            out,
            run,
            planning,
            recursive=recursive,
            tile_encoder=tile_encoder,
            fleet=fleet,
        )
    _refuse(
        {f.name: getattr(planning, f.name) != f.default for f in fields(PlanningSettings)},
        "is of what a cohort takes",
        "give --slides, without --num-tiles and --largest",
    )
    of_slide: Any = "bfloat16" if precision is None else _OF_SLIDES.get(precision, precision)
    return plan_slide(
        slides,
        out,
        asked,
        recursive=recursive,
        num_tiles=num_tiles,
        shape=shape,
        attention=attention,
        gpu_memory_gb=gpu_memory_gb,
        sequence_ranks=sequence_ranks,
        precision=of_slide,
        checkpoint_activations=checkpoint_activations,
        whole_inputs=whole_inputs,
        settings=settings,
    )


def _refuse(given: dict[str, bool], why: str, remedy: str) -> None:
    flags = [f"--{name.replace('_', '-')}" for name, is_given in given.items() if is_given]
    if flags:
        raise ConfigError(f"{flags[0]} {why}", expected="one question", remedy=remedy)
