"""Checks of features files: there, sound, and made alike."""

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

from slidenet.auditing.cohort import Cohort
from slidenet.auditing.finding import Finding
from slidenet.core.errors import StoreError
from slidenet.core.provenance import Identity, JsonValue, canonical_json, describe_difference
from slidenet.core.text import count_of, name_some
from slidenet.stores import FeatureFile

_Describe = Callable[[FeatureFile, FeatureFile], str]
_ENCODER_KEYS = ("tile_encoder", "encoder")


def rows_and_files(cohort: Cohort) -> Iterator[Finding]:
    """Rows without a file, and files without a row."""
    if cohort.paths is None:
        return
    missing = [i for i, s in enumerate(cohort.table.slide_ids) if s not in cohort.paths]
    if missing:
        yield Finding(
            "row-without-file",
            "error",
            f"{cohort.table.place(missing, 'slide_id')}: {count_of('slide', len(missing))} without "
            "a features file",
            "make their features, remove the rows, or train with --data.allow-missing",
        )
    extra = [path for slide, path in cohort.paths.items() if slide not in cohort.table.index]
    if extra:
        yield Finding(
            "file-without-row",
            "warning",
            f"{extra[0].parent}: {count_of('file', len(extra))} without a row in "
            f"{cohort.table.path}: {name_some(path.name for path in extra)}",
            "add rows for them if they belong to the cohort; they are not used otherwise",
        )


def refused_files(cohort: Cohort) -> Iterator[Finding]:
    """Files that cannot be opened, or not be read to the end, or are of another slide."""
    for code, errors in (
        ("file-refused", cohort.opened[1]),
        ("features-refused", cohort.summaries[1]),
    ):
        alike: dict[Hashable, list[str]] = defaultdict(list)
        for slide_id, error in errors.items():
            alike[_fault(cohort, slide_id, error)].append(slide_id)
        for slides in alike.values():
            first = errors[slides[0]]
            yield Finding(code, "error", _text(slides, first), first.remedy)
    for slide_id, bag in cohort.opened[0].items():
        if bag.slide_id != slide_id:
            yield Finding(
                "file-refused",
                "error",
                f"slide {slide_id!r}: {bag.path} says that it is about slide {bag.slide_id!r}",
                "give the file its old name back, or make it again",
            )


def constant_features(cohort: Cohort) -> Iterator[Finding]:
    """Slides whose features say nothing of their tiles."""
    slides = [s for s, summary in cohort.summaries[0].items() if summary.constant]
    if slides:
        where = cohort.table.place([cohort.table.index[slide] for slide in slides], "slide_id")
        yield Finding(
            "constant-features",
            "warning",
            f"{where}: the features of {count_of('slide', len(slides))} "
            f"({name_some(slides)}) are 0 throughout, or the same in every tile",
            "look at the slide and make its features again; training would take them as they are",
        )


def mixed_features(cohort: Cohort) -> Iterator[Finding]:
    """Files of different kinds; the kind most files are of counts as the right one."""
    bags = cohort.opened[0]
    yield from _odd_ones_out(
        "mixed-dims",
        bags,
        {s: bag.feature_dim for s, bag in bags.items()},
        lambda usual, odd: f"features of length {odd.feature_dim} instead of {usual.feature_dim}",
    )
    encoders = {
        s: canonical_json({"encoder": _encoder(bag.cohort_identity)}) for s, bag in bags.items()
    }
    yield from _odd_ones_out(
        "mixed-encoders",
        bags,
        encoders,
        lambda usual, odd: f"another tile encoder ({_difference(usual, odd)})",
    )
    rest = {
        s: canonical_json({k: v for k, v in bag.cohort_identity.items() if k not in _ENCODER_KEYS})
        for s, bag in bags.items()
    }
    yield from _odd_ones_out(
        "mixed-recipes",
        bags,
        rest,
        lambda usual, odd: f"other settings ({_difference(usual, odd)})",
    )


def _odd_ones_out(
    code: str, bags: Mapping[str, FeatureFile], kinds: Mapping[str, Hashable], describe: _Describe
) -> Iterator[Finding]:
    slides: dict[Hashable, list[str]] = defaultdict(list)
    for slide_id, kind in kinds.items():
        slides[kind].append(slide_id)
    if len(slides) < 2:
        return
    usual = max(slides, key=lambda kind: len(slides[kind]))
    reference = bags[slides[usual][0]]
    for kind, found in slides.items():
        if kind != usual:
            names = name_some(bags[s].path.name for s in found)
            yield Finding(
                code,
                "error",
                f"{count_of('file', len(found))} ({names}) of {len(bags)} in "
                f"{reference.path.parent} with {describe(reference, bags[found[0]])}, compared to "
                f"{reference.path.name}",
                "make all features with one encoder and the same settings",
            )


def _encoder(identity: Identity) -> JsonValue:
    return next((identity[key] for key in _ENCODER_KEYS if key in identity), None)


def _difference(usual: FeatureFile, odd: FeatureFile) -> str:
    return describe_difference(usual.cohort_identity, odd.cohort_identity)


def _fault(cohort: Cohort, slide_id: str, error: StoreError) -> Hashable:
    """The same for errors that differ in the file and in numbers only."""
    assert cohort.paths is not None
    path = cohort.paths[slide_id]
    found = error.found.replace(str(path), "").replace(path.name, "").replace(slide_id, "")
    return re.sub(r"\d+", "", found), error.remedy


def _text(slides: Sequence[str], error: StoreError) -> str:
    """The fault of some slides, with that of the first as the example."""
    text = f"slide {slides[0]!r}: {error.found}"
    if len(slides) > 1:
        text = f"slides {name_some(slides)}; the first: {error.found}"
    return f"{text}; expected {error.expected}" if error.expected else text
