"""slidenet: whole-slide pathology images to slide-level predictions.

    import slidenet

    slidenet.run("slides.csv", "out", target_mpp=0.5, encoder="uni")
    slidenet.train("runs/abmil", labels="slides.csv", features="out/tile_features/uni")

The names below are loaded on first use, so that `import slidenet` stays instant and needs no torch.
Each is the function behind the command of the same name (`describe_attention` behind `attention`).
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names for editors and type checkers
    from slidenet.core.errors import SlidenetError as SlidenetError
    from slidenet.pipelines.audit import audit as audit
    from slidenet.pipelines.crossval import crossval as crossval
    from slidenet.pipelines.embed_slides import embed_slides as embed_slides
    from slidenet.pipelines.embed_tiles import embed_tiles as embed_tiles
    from slidenet.pipelines.ensemble import ensemble as ensemble
    from slidenet.pipelines.evaluate import evaluate as evaluate
    from slidenet.pipelines.explain import explain as explain
    from slidenet.pipelines.export_tiles import export_tiles as export_tiles
    from slidenet.pipelines.feature_space.feature_maps import feature_maps as feature_maps
    from slidenet.pipelines.feature_space.neighbours import neighbours as neighbours
    from slidenet.pipelines.inspection.attention import describe_attention as describe_attention
    from slidenet.pipelines.manifest import manifest as manifest
    from slidenet.pipelines.planning.plan import plan as plan
    from slidenet.pipelines.predict import predict as predict
    from slidenet.pipelines.preprocess import preprocess as preprocess
    from slidenet.pipelines.report import report as report
    from slidenet.pipelines.run import run as run
    from slidenet.pipelines.train import train as train
    from slidenet.slide_encoders import load_slide_encoder as load_slide_encoder
    from slidenet.slides import open_slide as open_slide
    from slidenet.stores import read_features as read_features
    from slidenet.stores import read_slide_embeddings as read_slide_embeddings
    from slidenet.tile_encoders import load_tile_encoder as load_tile_encoder

    __version__: str

_HOMES = {
    "SlidenetError": "slidenet.core.errors",
    "audit": "slidenet.pipelines.audit",
    "crossval": "slidenet.pipelines.crossval",
    "describe_attention": "slidenet.pipelines.inspection.attention",
    "embed_slides": "slidenet.pipelines.embed_slides",
    "embed_tiles": "slidenet.pipelines.embed_tiles",
    "ensemble": "slidenet.pipelines.ensemble",
    "evaluate": "slidenet.pipelines.evaluate",
    "explain": "slidenet.pipelines.explain",
    "export_tiles": "slidenet.pipelines.export_tiles",
    "feature_maps": "slidenet.pipelines.feature_space.feature_maps",
    "load_slide_encoder": "slidenet.slide_encoders",
    "load_tile_encoder": "slidenet.tile_encoders",
    "manifest": "slidenet.pipelines.manifest",
    "neighbours": "slidenet.pipelines.feature_space.neighbours",
    "open_slide": "slidenet.slides",
    "plan": "slidenet.pipelines.planning.plan",
    "predict": "slidenet.pipelines.predict",
    "preprocess": "slidenet.pipelines.preprocess",
    "read_features": "slidenet.stores",
    "read_slide_embeddings": "slidenet.stores",
    "report": "slidenet.pipelines.report",
    "run": "slidenet.pipelines.run",
    "train": "slidenet.pipelines.train",
}

__all__ = sorted([*_HOMES, "__version__"])


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = importlib.import_module("slidenet.core.provenance").software_version()
    elif name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        return _room(name)
    globals()[name] = value
    return value


def _room(name: str) -> Any:
    """A sub-package that nobody has imported yet."""
    try:
        return importlib.import_module(f"slidenet.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"slidenet.{name}":
            raise
        raise AttributeError(f"module 'slidenet' has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return list(__all__)
