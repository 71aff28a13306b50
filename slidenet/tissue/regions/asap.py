"""XML as ASAP writes it, and CAMELYON with it: annotations of groups, in level-0 pixels.

    <ASAP_Annotations>
      <Annotations>
        <Annotation Name="Annotation 0" Type="Polygon" PartOfGroup="Tumor">
          <Coordinates><Coordinate Order="0" X="65163.3" Y="34885.6"/> ...
      <AnnotationGroups>
        <Group Name="Tumor" PartOfGroup="None"/>

A spline is the polygon through its points, as in the masks that ASAP itself makes of it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn
from xml.parsers import expat

import numpy as np

from slidenet.core.arrays import Float64Array
from slidenet.core.errors import SlideError
from slidenet.tissue.regions.classes import class_excludes, name_excludes, text_of
from slidenet.tissue.regions.contents import EXPORT_REMEDY, shown
from slidenet.tissue.regions.records import Parsed, Region
from slidenet.tissue.regions.shapes import Shapes, check_points

MAX_ELEMENTS = 2_000_000
"""Most elements of a file: about as many as points."""

_MAX_DEPTH = 32
_NUMBER = re.compile(r"[+-]?\d+([.,]\d*)?([eE][+-]?\d+)?", re.ASCII)
_AREAS = ("Polygon", "Rectangle", "Spline")
_WITHOUT_AREA: Final = {"Dot": "point", "PointSet": "point", "Measurement": "line"}
_CAMELYON16 = {"_0", "_1", "_2"}
"""Its groups: tumour, tumour, and what is cut out of both."""


def parse_asap(content: bytes, name: str) -> Parsed:
    """The regions of an ASAP file, in level-0 pixels.

    Args:
        content: XML; a document type or entities are refused before anything is expanded.
        name: Of the file, for messages.

    Raises:
        SlideError: No ASAP XML, more than the budget allows, or an annotation is broken (it is
            named).
    """
    found = content.count(b"<")
    if found > MAX_ELEMENTS:
        raise SlideError(
            f"{name} holds {found:,} XML elements",
            expected=f"at most {MAX_ELEMENTS:,}",
            remedy=EXPORT_REMEDY,
        )
    reader = _Reader(name)
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = reader.refuse_doctype
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise SlideError(
            f"{name} cannot be read as XML ({error})", expected="annotations as ASAP writes them"
        ) from error
    return reader.result()


@dataclass
class _Annotation:
    """One annotation while its points are read."""

    label: str
    kind: str
    group: str | None
    name: str | None
    orders: list[float] = field(default_factory=list)
    points: list[tuple[float, float]] = field(default_factory=list)

    def ring(self) -> Float64Array:
        """Its points in the order that they say."""
        points = np.array(self.points, dtype=np.float64).reshape(-1, 2)
        if self.orders:
            if len(set(self.orders)) != len(points):
                raise SlideError(
                    f"{self.label} has points that share an Order, or have none",
                    expected="an Order of its own for each point, or for none",
                )
            points = points[np.argsort(self.orders)]
        if self.kind == "Rectangle" and len(points) == 2:
            (left, top), (right, bottom) = points
            points = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
        return check_points(points, self.label)


class _Reader:
    """Takes the elements of a file as they come."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path: list[str] = []
        self.annotations: list[_Annotation] = []
        self.parents: dict[str, str | None] = {}

    def refuse_doctype(self, *_: object) -> NoReturn:
        raise SlideError(
            f"{self.name} is XML with a document type (DTD), which may hold entities",
            expected="annotations as ASAP writes them, which have none",
            remedy="remove the DOCTYPE, if you trust the file",
        )

    def start(self, element: str, attributes: Mapping[str, str]) -> None:
        self.path.append(element)
        if len(self.path) == 1 and element not in ("ASAP_Annotations", "Annotations"):
            self._refuse(f"is XML that starts with {shown(element)}")
        if len(self.path) > _MAX_DEPTH:
            self._refuse(f"is nested more than {_MAX_DEPTH} deep")
        if element == "Annotation":
            label = f"annotation {len(self.annotations)} of {self.name}"
            self.annotations.append(
                _Annotation(
                    label,
                    attributes.get("Type", "Polygon"),
                    _group(attributes, f"the group of {label}"),
                    text_of(attributes.get("Name"), f"the name of {label}"),
                )
            )
        elif element == "Coordinate" and "Annotation" in self.path:
            self._add_point(self.annotations[-1], attributes)
        elif element == "Group":
            group = text_of(attributes.get("Name"), f"the name of a group of {self.name}")
            if group is not None:
                self.parents[group] = _group(attributes, f"the parent of a group of {self.name}")
        elif element == "Vertex":
            self._refuse("is XML of ImageScope")

    def end(self, _: str) -> None:
        self.path.pop()

    def _add_point(self, annotation: _Annotation, attributes: Mapping[str, str]) -> None:
        x, y = (_number(attributes.get(axis), axis, annotation.label) for axis in "XY")
        annotation.points.append((x, y))
        if "Order" in attributes:
            annotation.orders.append(_number(attributes["Order"], "Order", annotation.label))

    def _refuse(self, found: str) -> NoReturn:
        raise SlideError(
            f"{self.name} {found}",
            expected="annotations as ASAP writes them (ASAP_Annotations), or GeoJSON",
            remedy="open it in QuPath or ASAP and export it from there",
        )

    def result(self) -> Parsed:
        shapes, regions = Shapes(), []
        parsed = Parsed(skipped=shapes.skipped, frame="level0")
        groups = {a.group for a in self.annotations if a.group is not None}
        parsed.excluding_classes = {group for group in groups if self._is_within_excluding(group)}
        if "_2" in groups and groups | self.parents.keys() <= _CAMELYON16:
            parsed.excluding_classes.add("_2")
            parsed.notes.append("the group _2 is taken out, as in CAMELYON16")
        for number, annotation in enumerate(self.annotations):
            if annotation.kind in _WITHOUT_AREA:
                parsed.skipped[_WITHOUT_AREA[annotation.kind]] += 1
                continue
            if annotation.kind not in _AREAS:
                raise SlideError(
                    f"{annotation.label} is of the type {shown(annotation.kind)}",
                    expected=f"one of {', '.join((*_AREAS, *_WITHOUT_AREA))}",
                )
            polygon = shapes.polygon([annotation.ring()], annotation.label)
            if polygon is None:
                continue
            excludes = name_excludes(annotation.name)
            regions.append(
                Region(polygon, annotation.group, annotation.name, excludes=excludes, number=number)
            )
        parsed.regions = regions
        return parsed

    def _is_within_excluding(self, name: str) -> bool:
        """Whether a group, or one around it, says so."""
        group: str | None = name
        seen: set[str] = set()
        while group is not None and group not in seen:
            if class_excludes(group):
                return True
            seen.add(group)
            group = self.parents.get(group)
        return False


def _group(attributes: Mapping[str, str], what: str) -> str | None:
    group = text_of(attributes.get("PartOfGroup"), what)
    return None if group == "None" else group


def _number(text: Any, what: str, label: str) -> float:
    """A number, with a point or (as some systems write it) a comma."""
    if text is None or not _NUMBER.fullmatch(text):
        found = "missing" if text is None else shown(text)
        raise SlideError(f"{what} of a point of {label} is {found}", expected="a number")
    return float(text.replace(",", "."))
