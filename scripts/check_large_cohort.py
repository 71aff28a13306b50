"""What a manifest of 10,000 slides costs before its first slide, and what memory a run takes.

    python scripts/check_large_cohort.py [--slides 10000] [--run 300] [--folder FOLDER]

Start-up: each verb is called on an output folder that holds the tiles of every slide, in a process
of its own, and is stopped when its first slide's turn has come; imports are not counted. The first
look is that at tiles which no verb has seen yet, as after a copy of the folder.

Memory: a run over as many slides whose files are missing (the bookkeeping without the work), and
one over a few real slides; growth is from the first third to the end.

Prints a table, and ends with 1 where a start takes more than 5 s of CPU time or the memory of a run
grows by more than a page per slide.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

MAX_START_S = 5.0
MAX_GROWTH_BYTES = 4096
START_VERBS = ("preprocess", "embed-tiles", "embed-slides", "export-tiles")
FIRST_LOOK = "first look"
PAGE = os.sysconf("SC_PAGE_SIZE")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slides", type=int, default=10_000)
    parser.add_argument("--run", type=int, default=300)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.part:
        print(json.dumps(measure(asked.part, asked.folder)))
        return 0
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        make(folder, asked.slides, asked.run)
        parts = [
            "manifest",
            "folder",
            FIRST_LOOK,
            *START_VERBS,
            "run of missing slides",
            "run of slides",
        ]
        return max(show(part, child(part, folder)) for part in parts)


def make(folder: Path, num_slides: int, num_run: int) -> None:
    """A slide, its tiles under as many names as there are slides, and tables that name them."""
    from slidenet.core.records import SlideRow
    from slidenet.pipelines.preprocess import preprocess
    from slidenet.testing import write_synthetic_slide

    slide, out = folder / "slide.tiff", folder / "out"
    write_synthetic_slide(slide, 256, 256, 0.5, seed=1)
    preprocess([SlideRow("slide", str(slide))], out, tile_size_px=128, isolate=False)
    (folder / "slides").mkdir()
    names = [f"slide{number:05d}" for number in range(num_slides)]
    for name in names:
        os.link(slide, folder / "slides" / f"{name}.tiff")
        for kind, ending in (("tiles", ".h5"), ("tissue", ".json")):
            shutil.copyfile(out / kind / f"slide{ending}", out / kind / f"{name}{ending}")
    header = "slide_id,slide_path,patient_id,label,site\n"
    for table, place in (("slides.csv", "slides"), ("missing.csv", "nowhere")):
        rows = (f"{name},{place}/{name}.tiff,{name[:-1]},yes,here\n" for name in names)
        (folder / table).write_text(header + "".join(rows))
    rows = (f"{name},slides/{name}.tiff,{name[:-1]},yes,here\n" for name in names[:num_run])
    (folder / "few.csv").write_text(header + "".join(rows))


def child(part: str, folder: Path) -> dict[str, float]:
    """Measures one part in a process of its own."""
    command = [sys.executable, __file__, "--part", part, "--folder", str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, stderr=subprocess.DEVNULL)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(part: str, folder: Path) -> dict[str, float]:
    """CPU and wall seconds and, of a run, bytes by which its memory grew per slide."""
    from slidenet.pipelines.cohort.run import LOCAL
    from slidenet.pipelines.embed_slides import embed_slides
    from slidenet.pipelines.embed_tiles import embed_tiles
    from slidenet.pipelines.export_tiles import export_tiles
    from slidenet.pipelines.preprocess import preprocess
    from slidenet.stores import read_manifest

    found: dict[str, float] = {}
    table, out = folder / "slides.csv", folder / "out"
    clock, cpu = time.monotonic(), time.process_time()

    def told() -> None:
        found.setdefault("wall_s", time.monotonic() - clock)
        found.setdefault("cpu_s", time.process_time() - cpu)

    class Stopped:
        """Ends when the first slide's turn has come."""

        def run(self, work: object, rows: object, progress: object) -> Iterator[object]:
            told()
            return iter(())

    class Watched:
        """The usual runner, with a look at the memory after a third and at the end."""

        def run(self, work: object, rows: object, progress: object) -> Iterator[object]:
            begun, number = 0, 0
            for number, outcome in enumerate(LOCAL.run(work, rows, progress), 1):
                if number == len(rows) // 3:
                    begun = resident_bytes()
                yield outcome
            growth = resident_bytes() - begun
            found["bytes_per_slide"] = growth / max(1, number - len(rows) // 3)

    small = {"tile_size_px": 128, "isolate": False}
    encoder = colour_encoder() if part == "embed-tiles" else None
    clock, cpu = time.monotonic(), time.process_time()
    if part in ("manifest", "folder"):
        read_manifest(table if part == "manifest" else folder / "slides")
    elif part in (FIRST_LOOK, "preprocess"):
        preprocess(table, out, runner=Stopped(), **small)
    elif part == "embed-tiles":
        embed_tiles(table, out, tile_encoder=encoder, runner=Stopped(), isolate=False)
    elif part == "embed-slides":
        embed_slides(table, out, encoder="colour", recipe="mean", runner=Stopped())
    elif part == "export-tiles":
        export_tiles(table, out, runner=Stopped(), isolate=False)
    elif part == "run of missing slides":
        preprocess(folder / "missing.csv", folder / "out1", runner=Watched(), **small)
    else:
        preprocess(folder / "few.csv", folder / "out2", runner=Watched(), **small)
    told()
    return found


def colour_encoder() -> object:
    """A tile encoder that costs nothing."""
    import torch

    from slidenet.tile_encoders import InputTransform, TileEncoder

    class Mean(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean(dim=(2, 3))

    plain = InputTransform(input_px=32, resize_px=32, mean=(0.0,) * 3, std=(1.0,) * 3)
    return TileEncoder.from_module(Mean(), name="colour", transform=plain)


def resident_bytes() -> int:
    """Memory of this process, of Linux."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def show(part: str, found: dict[str, float]) -> int:
    """Prints a line; 1 where a limit is passed."""
    line = f"{part:<24}{found['cpu_s']:8.2f} s CPU {found['wall_s']:8.2f} s wall"
    if "bytes_per_slide" in found:
        too_much = found["bytes_per_slide"] > MAX_GROWTH_BYTES
        line += f"  {found['bytes_per_slide']:10.0f} bytes more per slide"
    else:
        too_much = found["cpu_s"] > MAX_START_S
    print(line + ("  TOO MUCH" if too_much else ""), flush=True)
    return int(too_much)


if __name__ == "__main__":
    sys.exit(main())
