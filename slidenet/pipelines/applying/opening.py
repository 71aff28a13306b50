"""The bags that a trained model is applied to: their files found, opened and checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slidenet.core.errors import IdentityMismatchError, StoreError
from slidenet.core.provenance import describe_difference
from slidenet.core.records import SlideRow
from slidenet.core.text import count_of, name_some
from slidenet.core.vocabulary import id_spelling
from slidenet.data import BagSource
from slidenet.data.bags.parts import SlidePart, divide_file
from slidenet.data.covariates import CovariateTable
from slidenet.pipelines.applying.bags import dividing
from slidenet.pipelines.fitting.bundles import check_bundle_places, check_feature_dim
from slidenet.stores import FeatureFile, open_features
from slidenet.stores.h5.ancestors import check_tiles_of
from slidenet.stores.h5.validate import check_name
from slidenet.training import Bundle, Ensemble


@dataclass(frozen=True, eq=False)
class OpenedBags:
    """What a model takes of one row: one bag, or the parts of a slide where those are its bags.

    Attributes:
        sources: The bags.
        files: Of the slides, in each feature set.
        parts: Of a slide that is cut into bags; None where it is not.
    """

    sources: Sequence[BagSource]
    files: Sequence[tuple[FeatureFile, ...]]
    parts: Sequence[SlidePart] | None = None

    @property
    def words(self) -> str:
        """Of parts: how many there are, and which regions are none; empty where there are none."""
        if self.parts is None:
            return ""
        there = {part.region for part in self.parts}
        empty = [name for name in self.files[0][0].region_names if name not in there]
        lack = f"; no readable tile lies in {name_some(empty)}" if empty else ""
        return count_of("bag", len(self.parts)) + lack


@dataclass(frozen=True)
class BagOpener:
    """Opens the bags of a model.

    Attributes:
        model: The trained model.
        bundle: Where it comes from.
        features: The folder of each feature set.
        files: The features file of each slide, in each of them.
        members: The slides of each bag.
        covariates: Of the slides, where the model takes any.
    """

    model: Bundle | Ensemble
    bundle: Path
    features: Sequence[Path]
    files: Sequence[Mapping[str, Path]]
    members: Mapping[str, Sequence[SlideRow]]
    covariates: CovariateTable | None = None

    @property
    def rows(self) -> list[SlideRow]:
        """One row per bag (per slide that is cut into bags), under its bag_id."""
        return [SlideRow(bag_id, "") for bag_id in self.members]

    def paths(self, bag_id: str) -> list[Path]:
        """The features files of one row, as far as they are known."""
        members = self.members[bag_id]
        found = (of_set.get(one.slide_id) for of_set in self.files for one in members)
        return [path for path in found if path is not None]

    def __call__(self, bag_id: str) -> OpenedBags:
        """The bags of one row, whose files are the ones the model takes.

        Raises:
            StoreError: A file is missing, damaged, of another slide or without a usable tile.
            IdentityMismatchError: Features made with other settings than those of the training.
            ConfigError: Features without places for a model that goes by them.
        """
        members = self.members[bag_id]
        files = [
            tuple(self._open(member, number) for member in members)
            for number in range(len(self.files))
        ]
        known = None
        if self.covariates is not None:
            known = self.covariates.of_bag([member.slide_id for member in members])
        rule = dividing(self.model)
        if rule is None:
            return OpenedBags([BagSource(bag_id, files[0], tuple(files[1:]), known)], files)
        parts = divide_file(files[0][0], rule)
        if not parts:
            raise StoreError(
                f"{files[0][0].path} has no readable tile that lies enough in a region",
                expected="tiles as the model was trained on",
                slide=bag_id,
            )
        bags = [BagSource(part.name, (part.file,), covariates=known) for part in parts]
        return OpenedBags(bags, files, parts)

    def _open(self, row: SlideRow, number: int) -> FeatureFile:
        """The file of a slide in a feature set, counted from 0."""
        files = self.files[number]
        if row.slide_id not in files:
            wanted_id = id_spelling(row.slide_id, file_name=True)
            near = [name for name in files if id_spelling(name, file_name=True) == wanted_id]
            raise StoreError(
                f"{self.features[number]} holds no features of the slide {row.slide_id!r}",
                expected=f"a file named {row.slide_id}.h5",
                remedy=f"is it {near[0]!r}? Name slides as their files are named" if near else "",
                slide=row.slide_id,
            )
        # What files of other tools do not say is as it was for the training's.
        given: Any = self.model.training.get("given") or {}
        mpp = {} if row.mpp is None else {"slide_mpp": row.mpp}
        file = open_features(files[row.slide_id], **{**given, **mpp})
        file.check_any_tile()
        if file.layout == "slidenet":
            check_name(file.path, file.slide_id)
            check_tiles_of(file.path)
        wanted = (self.model.features_identity, *self.model.more_identities)[number]
        difference = describe_difference(wanted, file.cohort_identity)
        if difference:
            raise IdentityMismatchError(
                f"{file.path} has features made with other settings than those "
                f"{self.bundle} was trained on ({difference})",
                remedy="leave --features away, so that the right ones are made",
                slide=row.slide_id,
            )
        check_feature_dim(self.model, self.bundle, file, number)
        check_bundle_places(self.model, file)
        return file
