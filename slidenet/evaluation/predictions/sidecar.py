"""The note beside every file of predictions: what made it, and what each of its columns is for.

`predictions.csv` has `predictions.json` beside it. The note names the verb, the models (by their
digest) or the run, the data, the split and the fold, so that nobody takes one file for another, and
no file is written over another one without a word. It gives the column of each role, so that a
label may be called what people call it. Where it is missing, the columns speak for themselves.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from slidenet.core.errors import OutputError, PredictionsError, SlidenetError
from slidenet.core.json_text import parse_json
from slidenet.core.text import name_some
from slidenet.stores.atomic import write_json
from slidenet.stores.csv_table import read_csv_table
from slidenet.tasks import Task, task_from_identity

FORMAT, VERSION = "slidenet predictions", 1
MAX_BYTES = 4_000_000
"""A note names columns; whatever is larger is none."""

ROLES = ("bag", "patient", "fold", "labels", "probabilities", "value", "risk", "survival", "called")
KEEP_BOTH = "choose another --out, or move the file away"


@dataclass(frozen=True)
class Origin:
    """What made a file of predictions.

    Attributes:
        verb: The command, without `slidenet`.
        run: Hash of the identity of the training that made the model; "" where not known.
        models: Digest of each model that predicts (`Bundle.digests`).
        data: Digest of the bags and labels.
        split: Which split of the data: train, val, test; "" where there is none.
        fold: Of a cross-validation.
        threshold: The cut-off of the model, where it has one.
    """

    verb: str = "python"
    run: str = ""
    models: tuple[str, ...] = ()
    data: str = ""
    split: str = ""
    fold: int | None = None
    threshold: float | None = None

    def difference(self, other: "Origin") -> str:
        """In what two files differ in more than the bags they are about; "" where in nothing."""
        found = [
            f"{name}: {ours!r} -> {theirs!r}"
            for name in ("verb", "split", "fold")
            if (ours := getattr(self, name)) != (theirs := getattr(other, name))
        ]
        same_run = bool(self.run) and self.run == other.run
        if not same_run and self.models != other.models:
            found.append(f"model: {self._model()} -> {other._model()}")
        elif not same_run and not self.models and self.run != other.run:
            found.append(f"run: {self.run!r} -> {other.run!r}")
        return ", ".join(found)

    def _model(self) -> str:
        return name_some(self.models) or (f"run {self.run}" if self.run else "unknown")


@dataclass(frozen=True)
class Sidecar:
    """A note as it was read.

    Attributes:
        origin: What made the file.
        task: What is predicted.
        columns: The column of each role, or several, by the names of `ROLES`.
        digest: SHA-256 of the CSV as it was written.
    """

    origin: Origin
    task: Task
    columns: Mapping[str, Any]
    digest: str

    def names(self, role: str) -> tuple[str, ...]:
        """The columns of a role; none where the file has none."""
        found = self.columns.get(role)
        return (found,) if isinstance(found, str) else tuple(found or ())


def sidecar_path(path: Path) -> Path:
    """Where the note of a file lies."""
    return (
        path.with_suffix(".json") if path.suffix == ".csv" else path.with_name(f"{path.name}.json")
    )


def digest_of_text(content: bytes) -> str:
    """SHA-256 in hex digits."""
    return hashlib.sha256(content).hexdigest()


def write_sidecar(path: Path, sidecar: Sidecar) -> None:
    """Writes the note of the file `path`.

    Raises:
        OutputError: The folder cannot be written.
    """
    origin = {
        name: value for name, value in asdict(sidecar.origin).items() if value not in ("", ())
    }
    content = {
        "format": FORMAT,
        "version": VERSION,
        "origin": origin,
        "task": sidecar.task.identity(),
        "columns": dict(sidecar.columns),
        "sha256": sidecar.digest,
    }
    write_json(sidecar_path(path), content)


def read_sidecar(path: Path) -> Sidecar | None:
    """The note of the file `path`; None where there is none of slidenet.

    Raises:
        PredictionsError: It says that it is one, and is damaged or of a newer version.
    """
    place = sidecar_path(path)
    try:
        if not place.is_file() or place.stat().st_size > MAX_BYTES:
            return None
        content = parse_json(place.read_bytes())
    except (OSError, ValueError):
        return None  # some other file of that name
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return None
    if content.get("version") != VERSION:
        raise _damaged(path, f"is of version {content.get('version')!r}")
    try:
        return _parsed(content)
    except (KeyError, TypeError, ValueError, SlidenetError) as fault:
        raise _damaged(path, f"is damaged ({type(fault).__name__}: {fault})") from fault


def own_threshold(path: Path) -> float | None:
    """The cut-off of the model that made a file; None where no note says it.

    None for bags of val, too, since it was chosen on them.

    Raises:
        PredictionsError: The note is damaged.
    """
    found = read_sidecar(path)
    return None if found is None or found.origin.split == "val" else found.origin.threshold


def check_origin(
    path: Path,
    origin: Origin,
    bags: Collection[str] | None = None,
    *,
    of_run: bool = False,
    content: bytes | None = None,
) -> None:
    """Refuses to write a file of predictions over one that says something else.

    The same model may predict the same bags, or more, once more.

    Args:
        path: The file to be written.
        origin: What makes it.
        bags: The bags it is to hold; None where they are not known yet.
        of_run: Whether a file without a note is one that an older version wrote for the same run.
        content: What is to be written, once it is known.

    Raises:
        OutputError: Another file is there, saying which and what to do.
        PredictionsError: The note of the file that is there is damaged.
    """
    place = sidecar_path(path)
    found = read_sidecar(path)
    if found is None and place.exists():
        raise OutputError(
            f"{place} is there and no note of slidenet about predictions",
            expected=f"room for that of {path.name}",
            remedy=KEEP_BOTH,
        )
    if not path.exists():
        return
    there = path.read_bytes() if path.is_file() else b""
    if content is not None and there == content:
        return
    if found is None:
        if of_run:
            return
        raise OutputError(
            f"{path} is there already, and nothing says what made it", remedy=KEEP_BOTH
        )
    difference = found.origin.difference(origin)
    if difference:
        raise OutputError(
            f"{path} is there already, made by something else ({difference})", remedy=KEEP_BOTH
        )
    # The note is written first: a file that is older than its note is what a kill left between.
    younger = path.stat().st_mtime_ns > place.stat().st_mtime_ns
    if found.digest != digest_of_text(there) and younger:
        raise OutputError(f"{path} was changed since slidenet wrote it", remedy=KEEP_BOTH)
    if bags is None:
        return
    (column,) = found.names("bag")
    table = read_csv_table(path, error=PredictionsError)
    lost = [bag for bag in table.cells(column) if bag not in set(bags)]
    if lost:
        raise OutputError(
            f"{path} is there already and holds bags that are not predicted here "
            f"({name_some(dict.fromkeys(lost))})",
            remedy=KEEP_BOTH,
        )


def _parsed(content: Mapping[str, Any]) -> Sidecar:
    for name in ("origin", "columns", "task"):
        if not isinstance(content.get(name), dict):
            raise ValueError(f"{name} is {content.get(name)!r}")
    origin = {
        f.name: content["origin"][f.name] for f in fields(Origin) if f.name in content["origin"]
    }
    kinds = {"verb": str, "run": str, "models": list, "data": str, "split": str}
    for name, value in origin.items():
        if name in kinds and not isinstance(value, kinds[name]):
            raise ValueError(f"origin.{name} is {value!r}")
    origin["models"] = tuple(map(str, origin.get("models", ())))
    threshold = origin.get("threshold")
    if threshold is not None and not (isinstance(threshold, int | float) and 0 <= threshold <= 2):
        raise ValueError(f"origin.threshold is {threshold!r}")
    columns = {name: value for name, value in content["columns"].items() if name in ROLES}
    for name, value in columns.items():
        listed = [value] if isinstance(value, str) else value
        if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
            raise ValueError(f"columns.{name} is {value!r}")
    if not isinstance(columns["bag"], str):
        raise ValueError(f"columns.bag is {columns['bag']!r}")
    digest = content["sha256"]
    if not isinstance(digest, str):
        raise ValueError(f"sha256 is {digest!r}")
    return Sidecar(Origin(**origin), task_from_identity(content["task"]), columns, digest)


def _damaged(path: Path, why: str) -> PredictionsError:
    return PredictionsError(
        f"{sidecar_path(path)}, the note about {path.name}, {why[:300]}",
        expected=f"a note of version {VERSION}, as slidenet writes it",
        remedy="make the predictions again, or delete the note: the columns are then recognised by "
        "their names",
    )
