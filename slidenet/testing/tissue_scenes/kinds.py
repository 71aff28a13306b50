"""Every kind of scene: what is put on the canvas, and in which order."""

import zlib
from collections.abc import Callable
from functools import partial

import numpy as np

from slidenet.core.arrays import BoolArray, UInt8Array
from slidenet.testing.tissue_scenes import artefacts, glass, ink, scanner, tissue
from slidenet.testing.tissue_scenes.fields import ragged, smooth_field
from slidenet.testing.tissue_scenes.fluorescence import fluorescent
from slidenet.testing.tissue_scenes.placing import biopsies, cores, crossing_borders, sections
from slidenet.testing.tissue_scenes.scene import (
    LONG_SIDE_PX,
    SCENE_MPP,
    SHORT_SIDE_PX,
    Canvas,
    Scene,
)

Build = Callable[[Canvas], UInt8Array]


def make_scene(kind: str, seed: int, *, texture: str = "a") -> Scene:
    """A scene of a kind; the same arguments always give the same pixels.

    Family "a" has fibres, glands and crowds of nuclei, "c" hardly any texture. Family "b" has
    textures, stains, inks, tints and a haze of its own. Segmenters are tuned on "a" and "c" only,
    with seeds below 1000; "b" and seeds from 1000 are for judging.

    Args:
        kind: One of `KINDS`.
        seed: Decides geometry, colours and thickness. The picture is 896 px wide and 704 high for
            even seeds, 704 wide and 896 high for odd ones.
        texture: Family, "a", "b" or "c".
    """
    rng = np.random.default_rng([zlib.crc32(kind.encode()), seed, ord(texture)])
    sides = (SHORT_SIDE_PX, LONG_SIDE_PX)
    canvas = Canvas(rng, sides[::-1] if seed % 2 else sides, texture)
    glass.clear(canvas)
    image = KINDS[kind](canvas)
    canvas.settle_truth()
    return Scene(kind, seed, image, SCENE_MPP, canvas.truth, canvas.ignore)


def _sections(canvas: Canvas, contrast: float = 1.0, count: int | None = None) -> None:
    tissue.add_section(canvas, any_of(sections(canvas, count)), contrast)


def any_of(masks: list[BoolArray]) -> BoolArray:
    """Where any of the masks, bool (h, w) each, is."""
    return np.asarray(np.logical_or.reduce(masks))


def _plain(canvas: Canvas) -> UInt8Array:
    _sections(canvas)
    return scanner.developed(canvas)


def _of_contrast(canvas: Canvas, contrast: float) -> UInt8Array:
    _sections(canvas, contrast)
    return scanner.developed(canvas)


def _biopsy(canvas: Canvas) -> UInt8Array:
    tissue.add_section(canvas, biopsies(canvas), float(canvas.rng.uniform(0.7, 1.1)))
    return scanner.developed(canvas)


def _tma(canvas: Canvas) -> UInt8Array:
    tissue.add_section(canvas, cores(canvas), float(canvas.rng.uniform(0.7, 1.1)))
    return scanner.developed(canvas)


def _write(canvas: Canvas, colour: str, *, wiped: bool = False) -> None:
    """Two or three marks of a pen: a stroke, dots, letters, a ring around the largest piece."""
    rng = canvas.rng
    width = float(rng.uniform(14, 56))
    ways = (
        lambda: ink.stroke(rng, canvas.shape, width, length=float(rng.uniform(250, 1100))),
        lambda: ink.dots(rng, canvas.shape, int(rng.integers(2, 9))),
        lambda: ink.letters(rng, canvas.shape, width / 2),
        lambda: ink.around(rng, canvas.truth, width / 1.6),
    )
    for way in rng.permutation(len(ways))[: rng.integers(2, 4)]:
        ink.write(canvas, ways[way](), colour, wiped=wiped)


def _pen(canvas: Canvas, colour: str) -> UInt8Array:
    """Normal, pale or faint tissue; a strong pen beside faint tissue misleads thresholds."""
    _sections(canvas, float(canvas.rng.choice([1.0, 0.5, 0.3])))
    _write(canvas, colour)
    return scanner.developed(canvas)


def _beside(
    canvas: Canvas, special: Callable[[Canvas, BoolArray], None], own: float = 0.5
) -> UInt8Array:
    """Pieces that are normal in parts and special in parts, and some that are wholly special."""
    rng = canvas.rng
    for piece in sections(canvas, int(rng.integers(2, 5))):
        if rng.random() < own:
            special(canvas, piece)
            continue
        divided = smooth_field(rng, canvas.shape, 120, 2) > rng.uniform(-0.4, 0.6)
        tissue.add_section(canvas, piece & ~divided)
        special(canvas, piece & divided)
    return scanner.developed(canvas)


def _ihc(canvas: Canvas) -> UInt8Array:
    """Brown pieces beside pale ones, at least one of each."""
    rng = canvas.rng
    for number, piece in enumerate(sections(canvas, int(rng.integers(2, 6)))):
        positive = number == 0 or (number > 1 and rng.random() < 0.4)
        tissue.add_ihc(canvas, piece, brown=float(rng.uniform(0.7, 1.6)) if positive else 0.0)
    return scanner.developed(canvas)


def _dust(canvas: Canvas) -> UInt8Array:
    _sections(canvas, float(canvas.rng.uniform(0.5, 1.0)))
    artefacts.dust(canvas)
    return scanner.developed(canvas)


def _bubbles(canvas: Canvas) -> UInt8Array:
    _sections(canvas, float(canvas.rng.uniform(0.5, 1.0)))
    artefacts.bubbles(canvas)
    return scanner.developed(canvas)


def _cover_slip(canvas: Canvas) -> UInt8Array:
    _sections(canvas, float(canvas.rng.uniform(0.4, 1.0)))
    artefacts.cover_slip_edge(canvas)
    return scanner.developed(canvas)


def _folds(canvas: Canvas) -> UInt8Array:
    _sections(canvas, float(canvas.rng.uniform(0.4, 1.0)))
    tissue.fold(canvas, int(canvas.rng.integers(2, 8)))
    return scanner.developed(canvas)


def _tinted(canvas: Canvas, colour: str) -> UInt8Array:
    glass.tint(canvas, colour)
    _sections(canvas, float(canvas.rng.uniform(0.4, 1.0)))
    return scanner.developed(canvas)


def _uneven(canvas: Canvas) -> UInt8Array:
    glass.uneven(canvas)
    _sections(canvas, float(canvas.rng.uniform(0.4, 1.0)))
    return scanner.developed(canvas)


def _stitched(canvas: Canvas) -> UInt8Array:
    _sections(canvas, float(canvas.rng.uniform(0.4, 1.0)))
    image = scanner.developed(canvas)
    return scanner.left_out(canvas, image, scanner.unscanned_blocks(canvas.rng, canvas.truth), 0)


def _padded(canvas: Canvas, grey: int) -> UInt8Array:
    _sections(canvas, float(canvas.rng.uniform(0.6, 1.0)))
    image = scanner.developed(canvas)
    places = scanner.padding(canvas.rng, canvas.shape)
    if grey:  # white is filled in around the fields that were scanned, too
        places |= scanner.unscanned_blocks(canvas.rng, canvas.truth) & (canvas.rng.random() < 0.5)
    return scanner.left_out(canvas, image, places, grey)


def _fluorescence(canvas: Canvas, colours: int, share: float) -> UInt8Array:
    """Tissue on about `share` of the slide: the outline is where a smooth field is high enough."""
    rng = canvas.rng
    field = smooth_field(rng, canvas.shape, 330, 2)
    piece = ragged(rng, 60 * (field - np.quantile(field, 1 - share)), 0.6)
    return fluorescent(canvas, piece, colours=colours)


def _haze(canvas: Canvas) -> UInt8Array:
    _sections(canvas, float(canvas.rng.uniform(0.8, 1.2)), int(canvas.rng.integers(1, 3)))
    glass.haze(canvas)
    return scanner.developed(canvas)


def _full(canvas: Canvas) -> UInt8Array:
    """No glass but for lumens, a tear at times."""
    everywhere = np.ones(canvas.shape, np.bool_)
    if canvas.rng.random() < 0.5:
        torn = np.abs(smooth_field(canvas.rng, canvas.shape, 300, 2)) < 0.03
        everywhere &= ~torn
    tissue.add_section(canvas, everywhere)
    return scanner.developed(canvas)


def _borders(canvas: Canvas) -> UInt8Array:
    tissue.add_section(canvas, crossing_borders(canvas), float(canvas.rng.uniform(0.4, 1.0)))
    return scanner.developed(canvas)


def _empty(canvas: Canvas) -> UInt8Array:
    """Bare glass: clean, dusty, tinted, unevenly lit, or with the edge of its cover slip."""
    rng = canvas.rng
    for happens, put in (
        (0.5, partial(artefacts.dust, amount=0.3)),
        (0.25, artefacts.cover_slip_edge),
        (0.25, partial(glass.tint, name="yellow")),
        (0.25, glass.uneven),
    ):
        if rng.random() < happens:
            put(canvas)
    return scanner.developed(canvas)


def _jpeg(canvas: Canvas) -> UInt8Array:
    _sections(canvas, float(canvas.rng.uniform(0.4, 1.0)))
    return scanner.developed(canvas, quality=int(canvas.rng.integers(12, 40)))


def _noisy(canvas: Canvas) -> UInt8Array:
    _sections(canvas, float(canvas.rng.uniform(0.4, 1.0)))
    return scanner.developed(canvas, noise=float(canvas.rng.uniform(5, 10)))


def _combined(canvas: Canvas) -> UInt8Array:
    """Everything at once: faint tissue on tinted, unevenly lit glass, a pen, dust."""
    rng = canvas.rng
    glass.tint(canvas, str(rng.choice(list(glass.TINTS["a"]))))
    if rng.random() < 0.5:
        glass.uneven(canvas)
    _sections(canvas, float(rng.uniform(0.3, 0.5)))
    artefacts.dust(canvas, 0.4)
    _write(canvas, str(rng.choice(ink.COLOURS)))
    return scanner.developed(canvas)


def _wiped_pen(canvas: Canvas) -> UInt8Array:
    """A pen that somebody wiped off: weak strokes and a stain around them."""
    _sections(canvas, float(canvas.rng.uniform(0.4, 1.0)))
    _write(canvas, str(canvas.rng.choice(ink.COLOURS)), wiped=True)
    return scanner.developed(canvas)


def _pen_alone(canvas: Canvas) -> UInt8Array:
    """A written slide without tissue."""
    rng = canvas.rng
    colour = str(rng.choice(ink.COLOURS))
    way = ink.stroke(
        rng, canvas.shape, float(rng.uniform(12, 50)), length=float(rng.uniform(150, 900))
    )
    for strokes in (way, ink.letters(rng, canvas.shape, 14), ink.dots(rng, canvas.shape, 3)):
        if rng.random() < 0.7:
            ink.write(canvas, strokes, colour)
    return scanner.developed(canvas)


def _one_stain(canvas: Canvas) -> UInt8Array:
    """Almost all haematoxylin, dark and crowded, or almost all eosin."""
    rng = canvas.rng
    blue = (0.85, 0.97) if rng.random() < 0.5 else (0.03, 0.15)
    contrast = float(rng.uniform(0.5, 1.6))
    tissue.add_section(canvas, any_of(sections(canvas)), contrast, balance=blue)
    return scanner.developed(canvas)


def _overexposed(canvas: Canvas) -> UInt8Array:
    """Glass that is white beyond what the camera can say."""
    canvas.light *= float(canvas.rng.uniform(1.06, 1.22))
    _sections(canvas, float(canvas.rng.uniform(0.4, 1.0)))
    return scanner.developed(canvas)


def _defocused(canvas: Canvas) -> UInt8Array:
    _sections(canvas, float(canvas.rng.uniform(0.4, 1.0)))
    return scanner.developed(canvas, blur=float(canvas.rng.uniform(1.0, 2.5)))


def _grey(canvas: Canvas) -> UInt8Array:
    """A scan in grey levels."""
    _sections(canvas, float(canvas.rng.uniform(0.4, 1.0)))
    image = scanner.developed(canvas)
    return np.repeat(image.mean(axis=2, keepdims=True).round().astype(np.uint8), 3, axis=2)


KINDS: dict[str, Build] = {
    "plain": _plain,
    "biopsy": _biopsy,
    "tma": _tma,
    **{f"pen_{colour}": partial(_pen, colour=colour) for colour in ink.COLOURS},
    "pale": partial(_of_contrast, contrast=0.5),
    "faint30": partial(_of_contrast, contrast=0.3),
    "faint18": partial(_of_contrast, contrast=0.18),
    "fat": partial(_beside, special=tissue.add_fat),
    "mucin": partial(_beside, special=tissue.add_mucin),
    "necrosis": partial(_beside, special=tissue.add_necrosis),
    "ihc": _ihc,
    "dust": _dust,
    "bubbles": _bubbles,
    "cover_slip": _cover_slip,
    "folds": _folds,
    **{f"tint_{colour}": partial(_tinted, colour=colour) for colour in glass.TINTS["a"]},
    "uneven_light": _uneven,
    "black_stitching": _stitched,
    "black_padding": partial(_padded, grey=0),
    "white_padding": partial(_padded, grey=255),
    "dapi": partial(_fluorescence, colours=1, share=0.3),
    "fluorescence": partial(_fluorescence, colours=3, share=0.3),
    "fluorescence60": partial(_fluorescence, colours=3, share=0.6),
    "haze": _haze,
    "full": _full,
    "borders": _borders,
    "empty": _empty,
    "jpeg": _jpeg,
    "noise": _noisy,
    "combined": _combined,
    "wiped_pen": _wiped_pen,
    "pen_alone": _pen_alone,
    "one_stain": _one_stain,
    "overexposed": _overexposed,
    "defocused": _defocused,
    "grey": _grey,
}
"""Kinds of scene by name, in the order of the tables."""
