"""Checks of features files: there, sound, and made alike."""

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator

from slidenet.auditing.cohort import Cohort
from slidenet.auditing.finding import Finding
from slidenet.core.provenance import canonical_json, describe_difference
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
    if cohort.paths is None:
        return
    for code, errors in (
        ("file-refused", cohort.opened[1]),
        ("features-refused", cohort.summaries[1]),
    ):
        alike: dict[Hashable, list[str]] = defaultdict(list)
        for slide_id, error in errors.items():
            # Errors that differ in the file and in numbers only are one finding.
            path = cohort.paths[slide_id]
            fault = error.found.replace(str(path), "").replace(path.name, "").replace(slide_id, "")
            alike[re.sub(r"\d+", "", fault), error.remedy].append(slide_id)
        for slides in alike.values():
            first = errors[slides[0]]
            which = f"slide {slides[0]!r}"
            if len(slides) > 1:
                which = f"slides {name_some(slides)}; the first"
            expected = f"; expected {first.expected}" if first.expected else ""
            yield Finding(code, "error", f"{which}: {first.found}{expected}", first.remedy)
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
    for code, kind_of, describe in _KINDS:
        slides: dict[Hashable, list[str]] = defaultdict(list)
        for slide_id, bag in bags.items():
            slides[kind_of(bag)].append(slide_id)
        if len(slides) < 2:
            continue
        usual = max(slides, key=lambda kind: len(slides[kind]))
        reference = bags[slides[usual][0]]
        for kind, found in slides.items():
            if kind != usual:
                names = name_some(bags[s].path.name for s in found)
                yield Finding(
                    code,
                    "error",
                    f"{count_of('file', len(found))} ({names}) of {len(bags)} in "
                    f"{reference.path.parent} with {describe(reference, bags[found[0]])}, compared "
                    f"to {reference.path.name}",
                    "make all features with one encoder and the same settings",
                )


def _encoder(bag: FeatureFile) -> str:
    identity = bag.cohort_identity
    encoder = next((identity[key] for key in _ENCODER_KEYS if key in identity), None)
    return canonical_json({"encoder": encoder})


def _other_settings(bag: FeatureFile) -> str:
    return canonical_json({k: v for k, v in bag.cohort_identity.items() if k not in _ENCODER_KEYS})


def _difference(usual: FeatureFile, odd: FeatureFile) -> str:
    return describe_difference(usual.cohort_identity, odd.cohort_identity)


_KINDS: tuple[tuple[str, Callable[[FeatureFile], Hashable], _Describe], ...] = (
    (
        "mixed-dims",
        lambda bag: bag.feature_dim,
        lambda usual, odd: f"features of length {odd.feature_dim} instead of {usual.feature_dim}",
    ),
    (
        "mixed-encoders",
        _encoder,
        lambda usual, odd: f"another tile encoder ({_difference(usual, odd)})",
    ),
    (
        "mixed-recipes",
        _other_settings,
        lambda usual, odd: f"other settings ({_difference(usual, odd)})",
    ),
)
"""In what features must be alike: the code of a finding, the kind of a file, how two differ."""
