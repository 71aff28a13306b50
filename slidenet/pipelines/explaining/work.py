"""The work on one row: what the model says, the maps of its slides, and what is made of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slidenet.core.provenance import Identity, JsonValue
from slidenet.core.records import SlideRow
from slidenet.data import BagDataset, collate_bags
from slidenet.evaluation import Predictions
from slidenet.evaluation.predictions.targets import descriptions
from slidenet.pipelines.applying.bags import dividing
from slidenet.pipelines.applying.opening import BagOpener, OpenedBags
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.progress import Progress
from slidenet.pipelines.cohort.runner import SlideResult, SlideWork
from slidenet.pipelines.explaining.bag_maps import (
    BagPrediction,
    maps_of_bag,
    plain,
    predict_bag,
)
from slidenet.pipelines.explaining.methods import called_targets, revisions, settle_targets
from slidenet.pipelines.explaining.outputs import OutputSettings, SlideOutputs
from slidenet.pipelines.explaining.regions import without_regions
from slidenet.pipelines.explaining.slide_maps import (
    digest_of_bags,
    digest_of_features,
    geometry_of,
    maps_of_slides,
)
from slidenet.pipelines.objects.publishing import files_of_bags
from slidenet.stores import (
    FeatureMemory,
    TileMap,
    TileMaps,
    existing_output,
    read_tile_maps,
    write_tile_maps,
)
from slidenet.stores.objects import shown_uri
from slidenet.training.memory import allocation_explained

VERSION = 1
"""Of how maps are made; raised where the same settings would give other numbers."""


@dataclass(frozen=True)
class ExplainSettings:
    """What is explained, and how.

    Attributes:
        methods: Names of methods, the one to believe first.
        targets: Names of targets; "called" and "all" are none.
        compare: Whether they are all methods that apply, side by side.
        faithfulness: Whether deletion and insertion are measured.
        overwrite: Whether maps made with other settings are replaced.
        outputs: What is made of the maps.
    """

    methods: tuple[str, ...]
    targets: tuple[str, ...]
    compare: bool
    faithfulness: bool
    overwrite: bool
    outputs: OutputSettings


@dataclass(frozen=True)
class ExplainWork(SlideWork):
    """Explains one bag, or the parts of a slide; the maps lie in a file per slide and feature set.

    Attributes:
        layout: Paths of the output folder.
        opener: Of the bags of the model, which lies on the device it runs on.
        settings: What is explained, and how.
    """

    layout: OutputLayout
    opener: BagOpener
    settings: ExplainSettings

    def claimed(self, row: SlideRow) -> Path:
        """The maps of the slide; of a patient those of one slide, the same one in every process."""
        first = min(member.slide_id for member in self.opener.members[row.slide_id])
        return self._path(first, 1)

    def files_of(self, row: SlideRow) -> Sequence[Path]:
        """See `SlideWork`."""
        found = files_of_bags(self.layout, self.opener.paths(row.slide_id))
        kinds = [name for name in self.settings.outputs.formats if name != "h5"]
        for number in range(1, 1 + len(self.opener.files)):
            layout = self.layout.explanations(compare=self.settings.compare, number=number)
            for member in self.opener.members[row.slide_id]:
                for kind in kinds:
                    found.append(layout.export(kind, member.slide_id, ".*"))
                    found.append(layout.further(kind, member.slide_id, "x", "").with_name("*"))
                found += [layout.maps(member.slide_id), layout.made(member.slide_id)]
        return found

    def _path(self, slide_id: str, number: int) -> Path:
        layout = self.layout.explanations(compare=self.settings.compare, number=number)
        return layout.maps(slide_id)

    def __call__(self, row: SlideRow, progress: Progress) -> SlideResult:
        """Makes the maps of one row, unless they are there, and what is missing of the rest."""
        opened = self.opener(row.slide_id)
        maps, done = self._maps(row, opened)
        made, notes = 0, dict[str, None]()
        for number, (of_set, files) in enumerate(zip(maps, opened.files, strict=True), 1):
            layout = self.layout.explanations(compare=self.settings.compare, number=number)
            for member, one, file in zip(
                self.opener.members[row.slide_id], of_set, files, strict=True
            ):
                outputs = SlideOutputs(
                    layout,
                    one,
                    member,
                    file,
                    self.opener.model.task,
                    self.settings.outputs,
                    self.settings.compare,
                )
                count, said = outputs.make()
                made += count
                notes |= dict.fromkeys(said)
        first = opened.files[0]
        return SlideResult(
            self._path(maps[0][0].slide_id, 1),
            "; ".join([_words(maps[0][0]), *notes]),
            sum(file.num_tiles for file in first),
            num_unreadable=sum(file.num_unreadable for file in first),
            already_done=done and not made,
        )

    def _maps(self, row: SlideRow, opened: OpenedBags) -> tuple[list[list[TileMaps]], bool]:
        """The maps of each slide in each feature set, and whether they were there."""
        members = self.opener.members[row.slide_id]
        digest, identity = digest_of_bags(opened.files), self._identity(opened)
        paths = [
            [self._path(member.slide_id, number) for member in members]
            for number in range(1, 1 + len(opened.files))
        ]
        fingerprints = [
            [file.fingerprint or f"features:{digest_of_features(file)}" for file in files]
            for files in opened.files
        ]
        there = [
            existing_output(path, identity, fingerprint, input_digest=digest)
            for of_set in zip(paths, fingerprints, strict=True)
            for path, fingerprint in zip(*of_set, strict=True)
            if not self.settings.overwrite
        ]
        if there and all(there):
            return [[read_tile_maps(path) for path in of_set] for of_set in paths], True
        explained, prediction = self._explain(row, opened)
        maps = []
        for number, files in enumerate(opened.files):
            maps.append(
                [
                    TileMaps(
                        member.slide_id,
                        shown_uri(member.slide_path),
                        fingerprints[number][place],
                        geometry_of(file),
                        file.coords,
                        explained[number][place],
                        identity,
                        prediction,
                        digest,
                    )
                    for place, (member, file) in enumerate(zip(members, files, strict=True))
                ]
            )
            for one, path in zip(maps[-1], paths[number], strict=True):
                write_tile_maps(path, one)
        return maps, False

    def _explain(
        self, row: SlideRow, opened: OpenedBags
    ) -> tuple[list[list[tuple[TileMap, ...]]], dict[str, JsonValue]]:
        """Per feature set the maps of each slide, and what the model says of each bag."""
        model, settings = self.opener.model, self.settings
        dataset = BagDataset(opened.sources, memory=FeatureMemory())
        with allocation_explained("explain", training=False):
            batches = {
                source.bag_id: collate_bags([dataset[i]]) for i, source in enumerate(opened.sources)
            }
            said = {bag_id: predict_bag(model, batch) for bag_id, batch in batches.items()}
            wanted = {
                name
                for one in said.values()
                for name in settle_targets(
                    model.task, settings.targets, one.predicted, model.calibration
                )
            }
            targets = [one for one in model.task.explained_targets() if one.name in wanted]
            by_bag = {
                bag_id: maps_of_bag(
                    model,
                    batch,
                    settings.methods,
                    targets,
                    faithfulness=settings.faithfulness,
                    skip=settings.compare,
                )
                for bag_id, batch in batches.items()
            }
        maps = {bag_id: one for bag_id, (one, _) in by_bag.items()}
        found = [maps_of_slides(opened, number, maps) for number in range(len(opened.files))]
        prediction: dict[str, JsonValue] = {}
        for bag_id, one in said.items():
            more: dict[str, Any] = {"left_out": by_bag[bag_id][1]}
            if opened.parts is None and len(opened.files[0]) == 1:
                file = opened.files[0][0]
                if file.region_names:
                    more["without_region"] = without_regions(model, batches[bag_id], file, targets)
            patient = self.opener.members[row.slide_id][0].patient_id
            prediction[bag_id] = self._record(bag_id, patient, one, more)
        return found, prediction

    def _record(
        self, bag_id: str, patient: str | None, said: BagPrediction, more: Mapping[str, Any]
    ) -> JsonValue:
        """What the model says of one bag, as `TileMaps.prediction` has it."""
        model = self.opener.model
        one = Predictions(model.task, (bag_id,), (patient,), None, said.predicted, None)
        columns = model.task.prediction_columns(said.predicted)
        record: JsonValue = plain(
            {
                "words": descriptions(one, model.calibration)[0],
                "called": called_targets(model.task, said.predicted, model.calibration),
                "scores": {name: float(column[0]) for name, column in columns.items()},
                "logits": said.scores,
                **{name: value for name, value in more.items() if value},
            }
        )
        return record

    def _identity(self, opened: OpenedBags) -> Identity:
        """Every setting that makes the numbers; what belongs to the row alone under `inputs`."""
        model, settings = self.opener.model, self.settings
        rule = dividing(model)
        known = opened.sources[0].covariates
        revised = revisions(model, settings.methods)
        return {
            "explain": VERSION,
            "models": list(model.digests),
            "methods": list(settings.methods),
            **({"revisions": revised} if revised else {}),
            "targets": list(settings.targets),
            "faithfulness": settings.faithfulness,
            "bag": str(model.training.get("bag", "slide")),
            "min_region_share": None if rule is None else rule.min_region_share,
            "features": [dict(files[0].cohort_identity) for files in opened.files],
            "inputs": {
                "slides": list(opened.sources[0].slide_ids)
                if opened.parts is None
                else [opened.files[0][0].slide_id],
                "covariates": None if known is None else plain(known.tolist()),
            },
        }


def _words(maps: TileMaps) -> str:
    """The line of a row: what the model says of it, and by which methods it was explained."""
    said = [one for one in maps.prediction.values() if isinstance(one, Mapping)]
    words = str(said[0]["words"]) if len(said) == 1 else f"{len(said)} bags"
    left_out = {
        name: str(why)
        for one in said
        for name, why in (one.get("left_out") or {}).items()  # type: ignore[union-attr]
    }
    lines = [f"no {name}: {why}" for name, why in left_out.items()]
    return "; ".join([words, ", ".join(maps.methods), *lines])
