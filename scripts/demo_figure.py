"""Draws the demo's picture: demo_figure.py OUTPUT_FOLDER PICTURE.

The slide with tissue contours and tile grid, beside a map of its tile features.
"""

import sys
from pathlib import Path

from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.slides import open_slide
from slidenet.stores import read_features, read_slide_embeddings, read_tile_set
from slidenet.tissue import read_regions
from slidenet.visualisation import demo_figure, save_figure

ENCODER = "efficientnet_lite0"


def main() -> None:
    layout, picture = OutputLayout(Path(sys.argv[1])), Path(sys.argv[2])
    slide_id = next(iter(sorted((layout.root / "tiles").glob("*.h5")))).stem
    tile_set = read_tile_set(layout.tiles(slide_id))
    features_path = layout.features(slide_id, ENCODER)
    with (
        open_slide(tile_set.slide_path, mpp=tile_set.geometry.slide_mpp.value) as slide,
        read_features(features_path) as file,
    ):
        regions = read_regions(layout.tissue(slide_id), slide).regions
        polygons = [region.polygon for region in regions]
        figure = demo_figure(
            slide.thumbnail(1600),
            polygons,
            tile_set,
            file.features,
            encoder=ENCODER,
            mask=file.mask,
        )
        save_figure(figure, picture)
        shape = file.features.shape
    embedding_path = layout.slide_embedding(slide_id, ENCODER, "mean")
    _, matrix = read_slide_embeddings(embedding_path.parent)
    print("\nMade from one slide:")
    for what, path in [
        (f"{tile_set.num_tiles} tiles", layout.tiles(slide_id)),
        (f"{len(polygons)} tissue polygons (opens in QuPath)", layout.tissue(slide_id)),
        (f"{shape[0]} x {shape[1]} tile features", features_path),
        (f"slide embedding of length {matrix.shape[1]}", embedding_path),
        ("what happened, for machines", layout.run_report),
        ("PICTURE: tissue, tiles and features; open this first", picture),
    ]:
        print(f"  {what:<52} {path}")


if __name__ == "__main__":
    main()
