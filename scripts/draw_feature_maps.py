"""Draws the pictures of docs/feature-maps.md, from generated slides with lesions and real features.

draw_feature_maps.py [--work FOLDER] [--out docs/images/features]

Slides are generated, cut and embedded by the default tile encoder; then `slidenet feature-maps` and
`slidenet neighbours` run as the page has them. A folder given as --work is gone on with. PNGs are
reduced to 256 colours. Takes three minutes on two cores.
"""

import argparse
import tempfile
from pathlib import Path

from PIL import Image

from slidenet.cli.main import main as slidenet
from slidenet.testing import write_lesion_cohort

ROOT = Path(__file__).resolve().parents[1]
COLOURS, WIDTH = 256, 1000
SLIDE = "slide_000"
SHOWN = {
    f"feature_maps/figures/{SLIDE}.png": "slide.png",
    "feature_maps/tiles.png": "tiles.png",
    f"neighbours/{SLIDE}/tile_171.png": "neighbours.png",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "features")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        draw(options.work or Path(temporary), options.out)


def draw(work: Path, out: Path) -> None:
    """Runs everything in `work` and leaves the pictures of the page in `out`."""
    cohort, made = work / "cohort", work / "out"
    if not (cohort / "slides.csv").exists():
        write_lesion_cohort(cohort, num_patients=9, rule="present_vs_absent", seed=3)
    slides = ["--slides", str(cohort / "slides.csv"), "--out", str(made)]
    features = ["--features", str(made)]
    for command in (
        ["preprocess", *slides, "--tile-size-px", "128"],
        ["embed-tiles", *slides],
        ["feature-maps", *slides, *features, "--colour-by", "label"],
        ["neighbours", SLIDE, *slides, *features, "--place", "700,1450", "--exclude", "patient",
         "--num", "11"],
    ):  # fmt: skip
        if slidenet(command):
            raise SystemExit(f"slidenet {' '.join(command)} failed")
    out.mkdir(parents=True, exist_ok=True)
    for source, name in SHOWN.items():
        picture = Image.open(made / source).convert("RGB")
        height = round(picture.height * WIDTH / picture.width)
        picture = picture.resize((WIDTH, height), Image.Resampling.LANCZOS)
        picture.quantize(COLOURS).save(out / name, optimize=True)


if __name__ == "__main__":
    main()
