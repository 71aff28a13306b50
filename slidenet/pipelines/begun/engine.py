"""Which engine runs the tile encoder of an output folder: settled before its first slide.

Engines and batch sizes differ in the last bits of features, and which is faster is a matter of
measuring. So it is settled once, written down, and followed by every process that works there.
"""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from slidenet.core.checks import check_choice, check_whole
from slidenet.core.errors import IdentityMismatchError, StoreError
from slidenet.core.provenance import software_version
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.settings import EmbedTilesSettings
from slidenet.stores import open_features
from slidenet.stores.atomic import write_json, write_json_once
from slidenet.tile_encoders import TileEncoder
from slidenet.tile_encoders.engines import EngineName
from slidenet.tile_encoders.engines.choice import choose_engine
from slidenet.weights.device import processor_name

_log = logging.getLogger(__name__)

BATCH_OF_VERSION_1 = 64


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """What an output folder says of its engine.

    Attributes:
        engine: Its name.
        batch_size: Tiles of a batch; None: the engine's own.
        engine_version: Of its library; None where that is not known.
        machine: Kind of CPU or GPU it was settled on; None where that is not known.
        reason: Why it was taken.
    """

    engine: EngineName
    batch_size: int | None
    engine_version: str | None = None
    machine: str | None = None
    reason: str = ""

    @classmethod
    def of_folder(cls, path: Path) -> Self | None:
        """The record at `path`; None where the folder has no features of the encoder yet.

        Features whose record was lost say their engine themselves; others without a record are of
        version 1, which knew PyTorch only.

        Raises:
            StoreError: It is damaged.
        """
        if not path.is_file():
            begun = any(path.parent.glob("*.h5")) or any(path.parent.glob(".*.h5.partial*"))
            if begun and _engine_of_files(path.parent) == "openvino":
                return cls("openvino", None, reason="its features say so")
            return cls("torch", BATCH_OF_VERSION_1, reason="version 1") if begun else None
        try:
            record = cls(**json.loads(path.read_text(encoding="utf-8")))
            check_choice(("torch", "openvino"), engine=record.engine, error=StoreError)
            check_whole(batch_size=record.batch_size, error=StoreError)
        except (OSError, ValueError, TypeError, StoreError) as error:
            raise StoreError(
                f"{path} does not say which engine made the features beside it ({error})",
                expected="what `slidenet embed-tiles` wrote there",
                remedy="choose another output folder, or pass --overwrite to make them anew",
            ) from error
        return record


def settle_engine(
    encoder: TileEncoder,
    settings: EmbedTilesSettings,
    layout: OutputLayout,
    *,
    overwrite: bool = False,
) -> TileEncoder:
    """The encoder, run by the engine of its output folder.

    Args:
        encoder: With its weights, on its device.
        settings: Its engine and batch size, where they are given; else those the folder was begun
            with.
        layout: Paths of the output folder.
        overwrite: Settle it anew.

    Raises:
        IdentityMismatchError: The folder was begun with another engine than the one asked for.
        StoreError: Its record is damaged.
        MissingExtraError: It needs OpenVINO, which is not installed.
        EncoderError: It needs OpenVINO, which cannot run this encoder on this device.
    """
    asked, batch_size = settings.engine, settings.batch_size
    path = layout.engine(encoder.spec.name)
    record = None if overwrite else EngineRecord.of_folder(path)
    if record is None:
        chosen = choose_engine(encoder, asked, batch_size=batch_size)
        engine = chosen.engine
        new = EngineRecord(
            engine.name, engine.batch_size, engine.version, _machine(encoder), chosen.reason
        )
        if overwrite:
            write_json(path, asdict(new))
        if overwrite or write_json_once(path, asdict(new)):
            level = logging.WARNING if chosen.fell_back else logging.INFO
            _log.log(level, "the tile encoder is run by %s: %s", new.engine, new.reason)
            return encoder.with_engine(engine)
        record = EngineRecord.of_folder(path)  # of another process, which was faster
        assert record is not None, f"{path} was there a moment ago"
    if asked not in ("auto", record.engine):
        raise IdentityMismatchError(
            f"the features in {path.parent} are made by the engine {record.engine}",
            expected=f"{asked}, the engine asked for",
            remedy=f"choose another output folder, pass --engine {record.engine}, or pass "
            "--overwrite to make them anew",
        )
    version, machine = software_version(record.engine), _machine(encoder)
    as_begun = (record.engine_version, record.machine) == (version, machine)
    if not as_begun and record.machine is not None:
        _log.warning(
            "%s was begun by %s %s on %s; here it is %s on %s, and the last bits of features may "
            "differ",
            *(path.parent, record.engine, record.engine_version, record.machine, version, machine),
        )
    batch_size = batch_size or record.batch_size
    chosen = choose_engine(encoder, record.engine, batch_size=batch_size, proven=as_begun)
    return encoder.with_engine(chosen.engine)


def _engine_of_files(folder: Path) -> str:
    """What the first whole features file of a folder was made with."""
    for path in sorted(folder.glob("*.h5")):
        try:
            return str((open_features(path).encoder or {}).get("engine", "torch"))
        except StoreError:
            continue
    return "torch"


def _machine(encoder: TileEncoder) -> str:
    """Kind of device; the model and the widest vectors of a CPU."""
    import torch

    if encoder.device.type == "cuda":
        return torch.cuda.get_device_name(encoder.device)
    return f"{processor_name()}, {torch.backends.cpu.get_cpu_capability()}"
