"""`slidenet feature-maps`: what tile features look like on slides and over a cohort."""

import time
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from slidenet.core.checks import check_whole
from slidenet.core.errors import ClaimedElsewhere, ConfigError, IdentityMismatchError
from slidenet.core.provenance import Identity, describe_difference, identity_hash
from slidenet.explanation.feature_space.fitting import fit_space
from slidenet.explanation.feature_space.projection import WORDS, Projection, check_projection
from slidenet.explanation.feature_space.sample import CohortSample, sample_cohort
from slidenet.pipelines.cohort.layout import FeatureMapsLayout, OutputLayout
from slidenet.pipelines.cohort.report import RunReport
from slidenet.pipelines.cohort.run import LOCAL, run_cohort
from slidenet.pipelines.cohort.runner import Runner
from slidenet.pipelines.cohort.slides import Slides
from slidenet.pipelines.feature_space.cohort import FeatureCohort, GivenFeatures, open_cohort
from slidenet.pipelines.feature_space.layouts import (
    CLUSTERS,
    SLIDES,
    TILES,
    CohortDrawer,
    check_column,
)
from slidenet.pipelines.feature_space.slide_work import FeatureMapWork, read_records
from slidenet.pipelines.fleet.settings import WHOLE, FleetSettings
from slidenet.pipelines.objects.staging import is_at_hand
from slidenet.pipelines.settings import OpeningSettings, divide_keywords, settings_with
from slidenet.stores import check_output_folder
from slidenet.stores.atomic import write_json
from slidenet.stores.claims import claim
from slidenet.stores.feature_space import FeatureSpace, read_feature_space, write_feature_space
from slidenet.stores.json_file import read_json
from slidenet.stores.objects import shown_uri

DRAWN = "drawn.json"
"""What the tables and pictures of the cohort were made of."""
WAIT_S, MOST_WAITS = 2.0, 60
NO_SLIDES = "No slide is there (--slides)."


@dataclass(frozen=True, kw_only=True)
class FeatureMapsSettings:
    """How the features of a cohort are looked at.

    Args:
        num_clusters: Clusters that tiles are divided into (k-means), numbered by size.
        projection: How tiles and slides are laid out on a plane: umap (the extra slidenet[umap]),
            tsne, pca, or none.
        max_tiles: Tiles that components and clusters are fitted on, drawn evenly from the slides.
        max_shown: Tiles of these that are laid out on the plane.
        seed: Of the draw, the clusters and the layout.
        colour_by: Column of the table of slides whose values colour the map of slides.
        space: A feature_space.safetensors of an earlier run: colours and clusters then mean what
            they mean there, and nothing is fitted.
    """

    num_clusters: int = 8
    projection: Projection = "umap"
    max_tiles: int = 50_000
    max_shown: int = 10_000
    seed: int = 0
    colour_by: str | None = None
    space: Path | None = None


def feature_maps(
    features: str | Path,
    out: str | Path,
    settings: FeatureMapsSettings | None = None,
    given: GivenFeatures | None = None,
    *,
    slides: Slides | None = None,
    patient_column: str | None = None,
    overwrite: bool = False,
    opening: OpeningSettings | None = None,
    fleet: FleetSettings = WHOLE,
    runner: Runner = LOCAL,
    **keywords: Any,
) -> RunReport:
    """Show what tile features look like: as colours on slides, in clusters, and laid out by UMAP.

    Colours and clusters are fitted once on the whole cohort and mean the same on every slide. No
    model and no label has a part in them. Writes `feature_maps/` under `out`: per slide a picture
    and a table; tiles, slides and clusters of the cohort as tables and pictures.

    Args:
        features: Folder of features, one file per slide, or an output folder that holds one.
        out: Output folder.
        settings: How they are looked at.
        given: What files of other tools do not say.
        slides: Manifest slides.csv, or a folder of slides: for pictures of slides and tiles, and
            for labels; default: the slides that have features.
        patient_column: Column of the manifest that says whose slide it is.
        overwrite: Replace what was made with other settings or of other features.
        opening: Where slides are opened and what they may cost.
        fleet: Which of the slides this call draws; colours are those of all.
        runner: Who does the work.
        **keywords: Fields of `FeatureMapsSettings`, `GivenFeatures` and `OpeningSettings`.
    """
    kinds = (FeatureMapsSettings, GivenFeatures, OpeningSettings)
    names = ("settings", "given", "opening")
    parts = divide_keywords(
        keywords,
        {n: ({}, [f.name for f in fields(k)]) for n, k in zip(names, kinds, strict=True)},
    )
    settings = settings_with(FeatureMapsSettings, settings, parts["settings"])
    given = settings_with(GivenFeatures, given, parts["given"])
    opening = settings_with(OpeningSettings, opening, parts["opening"])
    opening.how_to_open()
    check_whole(max_tiles=settings.max_tiles, max_shown=settings.max_shown)
    check_whole(num_clusters=settings.num_clusters, least=2)
    check_projection(settings.projection)
    cohort = open_cohort(features, slides, given, patient_column=patient_column)
    check_column(cohort, settings.colour_by)
    layout = OutputLayout(check_output_folder(out))
    fitted = _Fitted(layout.feature_maps, cohort, settings, overwrite)
    space = fitted.space()
    work = FeatureMapWork(layout, space, cohort.files, cohort.failed, opening, overwrite)
    report = run_cohort(
        "feature-maps", cohort.rows, work, settings=[settings], fleet=fleet, runner=runner
    )
    drawer = CohortDrawer(
        layout.feature_maps, cohort, space, settings.projection, settings.seed, settings.colour_by
    )
    notes = _draw_cohort(drawer, fitted, opening)
    return replace(report, notes=(*report.notes, *notes))


@dataclass
class _Fitted:
    """The space of a cohort and the sample it is fitted on, each made when it is first needed."""

    paths: FeatureMapsLayout
    cohort: FeatureCohort
    settings: FeatureMapsSettings
    overwrite: bool
    _sample: CohortSample | None = None

    def sample(self) -> CohortSample:
        """Tiles of all slides."""
        if self._sample is None:
            settings = self.settings
            self._sample = sample_cohort(
                self.cohort.files, max_tiles=settings.max_tiles, seed=settings.seed
            )
        return self._sample

    def space(self) -> FeatureSpace:
        """What was given, is there already, or is fitted now.

        Raises:
            IdentityMismatchError: There is another one, or the one given is of other features.
        """
        settings, path = self.settings, self.paths.space
        there = read_feature_space(path) if path.is_file() and not self.overwrite else None
        if settings.space is not None:
            space = read_feature_space(settings.space)
            self._check_given(space)
            if there is not None and there.identity_hash != space.identity_hash:
                raise self._another(there, space.identity)
            if there is None:
                write_feature_space(path, space)
            return space
        about: Identity = {
            "features": self.cohort.features_identity,
            "cohort": self.cohort.content(),
            "max_tiles": settings.max_tiles,
        }
        if there is not None:
            wanted = {**there.identity, **about, "num_clusters": settings.num_clusters,
                      "seed": settings.seed}  # fmt: skip
            if identity_hash(wanted) != there.identity_hash:
                raise self._another(there, wanted)
            return there
        space = fit_space(
            self.sample().features, about, num_clusters=settings.num_clusters, seed=settings.seed
        )
        write_feature_space(path, space)
        return space

    def _another(self, there: FeatureSpace, wanted: Identity) -> IdentityMismatchError:
        same = {"cohort": there.identity.get("cohort")}
        difference = describe_difference(there.identity, {**wanted, **same})
        if wanted.get("cohort") != same["cohort"]:
            difference = "; ".join(["on other slides or features", *filter(None, [difference])])
        return IdentityMismatchError(
            f"{self.paths.space} was fitted otherwise ({difference})",
            remedy="choose another output folder; pass --overwrite to fit and draw all anew; or "
            f"keep what colours mean there with --space {self.paths.space}",
        )

    def _check_given(self, space: FeatureSpace) -> None:
        asked = self.settings.num_clusters
        if asked not in (space.num_clusters, FeatureMapsSettings.num_clusters):
            raise ConfigError(
                f"num_clusters is {asked}",
                expected=f"{space.num_clusters}, as {self.settings.space} has, or nothing",
            )
        theirs, ours = space.identity.get("features"), self.cohort.features_identity
        difference = describe_difference(theirs if isinstance(theirs, dict) else {}, ours)
        if difference:
            raise IdentityMismatchError(
                f"{self.settings.space} was fitted on other features ({difference})",
                expected="features made in the same way",
                remedy="leave out --space, or give features of the same encoder",
            )


def _draw_cohort(drawer: CohortDrawer, fitted: _Fitted, opening: OpeningSettings) -> list[str]:
    """Draws the whole cohort where that is not done; says what there is, a line each.

    Of several processes one does it at a time, and the last one knows the slides of all.
    """
    for _ in range(MOST_WAITS):
        try:
            with claim(drawer.paths.cohort(DRAWN)):
                return _draw_claimed(drawer, fitted, opening)
        except ClaimedElsewhere:
            time.sleep(WAIT_S)
    return ["another process still draws the cohort as a whole: run again when it has ended"]


def _draw_claimed(drawer: CohortDrawer, fitted: _Fitted, opening: OpeningSettings) -> list[str]:
    paths, settings = drawer.paths, fitted.settings
    records = read_records(paths, drawer.space)
    if settings.projection == "none":
        drawer.draw_slides(records)
        return [f"{paths.cohort(f'{SLIDES}.csv')}: shares of the clusters"]
    path, rows = paths.cohort(DRAWN), fitted.cohort.rows
    done = read_json(path, remedy="delete it") if path.is_file() else {}
    shown = [shown_uri(row.slide_path) for row in rows if is_at_hand(row.slide_path)]
    wanted = {
        TILES: identity_hash(drawer.identity(max_shown=settings.max_shown)),
        SLIDES: identity_hash(drawer.slides_identity(records)),
        CLUSTERS: identity_hash({"space": drawer.space.identity_hash, "slides": shown}),
    }
    notes = []
    if done.get(TILES) != wanted[TILES]:
        drawer.draw_tiles(fitted.sample().thinned(settings.max_shown))
    if done.get(SLIDES) != wanted[SLIDES] and records:
        drawer.draw_slides(records)
    missing = "" if shown else NO_SLIDES
    if shown and done.get(CLUSTERS) != wanted[CLUSTERS]:
        missing = drawer.draw_clusters(fitted.sample(), opening)
    if missing:
        wanted.pop(CLUSTERS)
        notes.append(f"no pictures of clusters: {missing[0].lower()}{missing[1:]}")
    write_json(path, wanted, sort_keys=True)
    words = WORDS[settings.projection]
    return [f"{paths.root}: {words} of tiles and slides, clusters, a picture per slide", *notes]
