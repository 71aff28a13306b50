"""Pictures of what bench_tissue.py measures: the truth and each segmenter's outline."""

from pathlib import Path

import cv2
import numpy as np

HEIGHT, SMALL_HEIGHT = 300, 170
TRUTH, FOUND = (0, 170, 90), (225, 40, 170)
COUNTS_NOT = (255, 190, 0)
QUALITY = 82
FONT = (cv2.FONT_HERSHEY_SIMPLEX, 0.42)


def outlined(image, mask, colour, label, *, height=HEIGHT, ignore=None) -> np.ndarray:
    """A picture uint8 (height, w, 3) with the outlines of a mask and a label on it."""
    size = (round(image.shape[1] * height / image.shape[0]), height)
    panel = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    if ignore is not None:
        small = cv2.resize(ignore.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        stripes = np.add.outer(np.arange(height), np.arange(size[0])) % 6 < 2
        panel[small & stripes] = COUNTS_NOT
    # At the picture's own size lines would vanish when it shrinks: the mask shrinks instead.
    shown = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_AREA)
    contours, _ = cv2.findContours(shown, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(panel, contours, -1, colour, 1)
    (width, _), _ = cv2.getTextSize(label, *FONT, 1)
    panel[:18, : width + 8] = 255
    cv2.putText(panel, label, (4, 14), *FONT, (20, 20, 20), 1, cv2.LINE_AA)
    return panel


def row(name: str, scene, results: list, height=HEIGHT) -> np.ndarray:
    """The truth, then each result's mask with its IoU, side by side."""
    panels = [outlined(scene.image, scene.truth, TRUTH, name, height=height, ignore=scene.ignore)]
    for result in results:
        label = f"{result.segmenter} {result.marks.iou:.2f}"
        if result.doubt is not None:
            label += f", doubt {result.doubt:.2f}"
        panels.append(outlined(scene.image, result.mask, FOUND, label, height=height))
    return np.concatenate(panels, axis=1)


def stacked(rows: list[np.ndarray]) -> np.ndarray:
    """Rows of different widths below each other."""
    width = max(part.shape[1] for part in rows)
    fill = {"constant_values": 255}
    return np.concatenate(
        [np.pad(part, ((0, 4), (0, width - part.shape[1]), (0, 0)), **fill) for part in rows]
    )


def write(path: Path, picture: np.ndarray) -> None:
    quality = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    if not cv2.imwrite(str(path), picture[..., ::-1], quality):
        raise SystemExit(f"{path} could not be written")


def all_kinds(panels: list[np.ndarray], columns: int) -> np.ndarray:
    """One panel per kind, `columns` in a row."""
    panels = [np.pad(panel, ((0, 0), (0, 4), (0, 0)), constant_values=255) for panel in panels]
    rows = [
        np.concatenate(panels[start : start + columns], axis=1)
        for start in range(0, len(panels), columns)
    ]
    return stacked(rows)
