"""Damages tiles, features and slide embeddings, and asks who notices.

    python scripts/damage_outputs.py --damages 112 --seed 0

Each damage (a flipped bit, a block of zeros, a block of zeros over a chunk with its checksum, a
cut) is judged by plain h5py: either the file still says everything it said (harmless), or it does
not. Then `validate --deep` and the verb that would use the file must both refuse it: embed-tiles
for tiles, embed-slides and predict for features, whoever reads embeddings for those. Nothing may
take longer than 20 seconds. The exit status is 1 where one of this fails.
"""

import argparse
import multiprocessing
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from slidenet.core.errors import SlidenetError
from slidenet.core.records import SlideMpp, SlideRow, TileGeometry, TileSet
from slidenet.core.units import Mpp
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.planned import planned_tiles
from slidenet.pipelines.embed_slides import embed_slides
from slidenet.stores import (
    FeatureMemory,
    FeatureWriter,
    open_features,
    read_slide_embedding,
    validate_file,
    write_tile_set,
)

_SECONDS = 20
_ROW = SlideRow("slide_1", "slide_1.tif")
_KINDS = ("flip", "flip", "flip", "zeros", "zeroed chunk", "cut")


def main() -> int:
    """Makes the damages; prints what became of them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--damages", type=int, default=112)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="where damaged files nobody noticed are kept")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        layout = OutputLayout(Path(folder))
        files = _make_outputs(layout)
        sound = {name: (path.read_bytes(), _content(path)) for name, path in files.items()}
        counts: Counter[tuple[str, str, str]] = Counter()
        wrong = 0
        for number in range(asked.damages):
            rng = np.random.default_rng((asked.seed, number))
            name = list(files)[number % len(files)]
            kind = _KINDS[rng.integers(len(_KINDS))]
            before, content = sound[name]
            files[name].write_bytes(_damaged(before, kind, files[name], rng))
            verdict = _judge(layout, name, files[name], content)
            counts[name, kind, verdict] += 1
            if verdict not in ("found by all", "harmless"):
                wrong += 1
                print(f"damage {number}: {kind} of the {name}: {verdict}")
                if asked.keep:
                    asked.keep.mkdir(parents=True, exist_ok=True)
                    (asked.keep / f"{number}_{name}.h5").write_bytes(files[name].read_bytes())
            files[name].write_bytes(before)
    for (name, kind, verdict), count in sorted(counts.items()):
        print(f"{name:<10} {kind:<13} {verdict:<14} {count}")
    print(f"{asked.damages} damages, {wrong} not as they should be")
    return int(wrong > 0)


def _make_outputs(layout: OutputLayout) -> dict[str, Path]:
    """The files of one slide of 900 tiles, whose features every chunk has its own of."""
    rng = np.random.default_rng(0)
    side = TileGeometry(
        SlideMpp(Mpp(0.5), "override"), Mpp(0.5), Mpp(0.5), 0, 256, 256, 256, 20000, 20000, 2
    )
    coords = np.array([(x * 256, y * 256) for y in range(30) for x in range(30)], np.int64)
    fraction = rng.uniform(size=len(coords)).astype(np.float32)
    tiles = TileSet(
        "slide_1",
        "slide_1.tif",
        "sha256:feed",
        side,
        coords,
        fraction,
        {"segmenter": "otsu", "icc": False},
    )
    identity = {"tiles": tiles.identity, "tile_encoder": {"encoder": "toy"}}
    paths = {
        "tiles": write_tile_set(layout.tiles("slide_1"), tiles),
        "features": layout.features("slide_1", "toy"),
        "embedding": layout.slide_embedding("slide_1", "toy", "mean"),
    }
    encoder = {"encoder": "toy"}
    with FeatureWriter(paths["features"], tiles, 48, "float16", identity, encoder, 900) as writer:
        writer.append(rng.normal(size=(900, 48)))
        writer.finish()
    _embed(layout)
    return paths


def _embed(layout: OutputLayout) -> None:
    """`embed-slides`, as a failure of its one slide."""
    report = embed_slides([_ROW], layout.root, encoder="toy", recipe="mean", overwrite=True)
    if report.exit_code:
        raise SlidenetError(report.outcomes[0].detail)


def _damaged(data: bytes, kind: str, path: Path, rng: np.random.Generator) -> bytes:
    damaged, at = bytearray(data), int(rng.integers(len(data)))
    if kind == "flip":
        damaged[at] ^= 1 << int(rng.integers(8))
    elif kind == "zeros":
        damaged[at : at + 512] = bytes(len(damaged[at : at + 512]))
    elif kind == "cut":
        del damaged[at:]
    else:
        chunks = []
        with h5py.File(path) as h5:
            h5.visititems(lambda _, what: chunks.extend(_chunks(what)))
        offset, size = chunks[rng.integers(len(chunks))]
        damaged[offset : offset + size] = bytes(size)
    return bytes(damaged)


def _chunks(what: Any) -> list[tuple[int, int]]:
    if not isinstance(what, h5py.Dataset):
        return []
    infos = (what.id.get_chunk_info(i) for i in range(what.id.get_num_chunks()))
    return [(info.byte_offset, info.size) for info in infos]


def _content(path: Path, names: Iterable[str] | None = None) -> dict[str, Any]:
    """All that plain h5py reads from a file, of the objects with these names."""
    found: dict[str, Any] = {}

    def add(name: str, what: Any) -> None:
        found[name] = {k: np.asarray(v).tobytes() for k, v in what.attrs.items()}
        found[name] |= {k: v for k, v in what.attrs.items() if isinstance(v, str)}
        if isinstance(what, h5py.Dataset):
            found[name][""] = (str(what.dtype), what.shape, what[()].tobytes())

    with h5py.File(path) as h5:
        if names is None:
            add("/", h5)
            h5.visititems(add)
        for name in names or ():
            add(name, h5[name])
    return found


def _judge(layout: OutputLayout, name: str, path: Path, content: dict[str, Any]) -> str:
    def read() -> None:
        if _content(path, content) != content:
            raise SlidenetError("another content")

    def validate() -> None:
        for problem in validate_file(path):
            raise SlidenetError(problem)

    verbs: dict[str, list[Callable[[], object]]] = {
        "tiles": [lambda: planned_tiles(layout, _ROW, None)],
        "features": [
            lambda: _embed(layout),
            lambda: FeatureMemory().read(open_features(path)),
        ],
        "embedding": [lambda: read_slide_embedding(path)],
    }
    said = [_alone(validate), *(_alone(verb) for verb in verbs[name])]
    if any(text.startswith(("not a refusal", "hung")) for text in said):
        return "; ".join(said)
    if _alone(read) == "nothing":
        return "harmless"
    missed = [who for who, text in zip(("validate", "verb", "predict"), said, strict=False)
              if text == "nothing"]  # fmt: skip
    return f"missed by {', '.join(missed)}" if missed else "found by all"


def _alone(work: Callable[[], object]) -> str:
    """What work in a process of its own says: nothing, a refusal, or worse."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()

    def run() -> None:
        try:
            work()
            theirs.send("nothing")
        except (SlidenetError, OSError, RuntimeError, KeyError) as error:
            ours_or_h5py = isinstance(error, SlidenetError) or work.__name__ == "read"
            theirs.send(f"{'refused' if ours_or_h5py else 'not a refusal'}: {error}")
        except Exception as error:  # what nobody foresaw is what is looked for
            theirs.send(f"not a refusal: {type(error).__name__}: {error}")

    process = context.Process(target=run)
    process.start()
    answered = ours.poll(_SECONDS)
    said = str(ours.recv()) if answered else "hung"
    process.kill()
    process.join()
    return said


if __name__ == "__main__":
    sys.exit(main())
