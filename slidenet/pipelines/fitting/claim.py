"""Whose run a folder holds: claimed when it begins, and given up when it is refused."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from time import sleep

from lightning.pytorch.utilities import rank_zero_only

from slidenet.core.errors import ClaimedElsewhere, IdentityMismatchError, SlidenetError
from slidenet.core.provenance import Identity, canonical_json, describe_difference
from slidenet.core.window_rule import without_idle_rule
from slidenet.stores import atomic_path
from slidenet.stores.claims import claim
from slidenet.stores.json_file import read_json

PLAN_NAME = "plan.json"

_log = logging.getLogger(__name__)
_PAUSE_S = 2.0

_REMEDY = "choose another --out, or delete the folder to train anew"


def claim_folder(folder: Path, identity: Identity, name: str = PLAN_NAME) -> None:
    """Writes what a run is into its folder, or proves that the folder is that of the same run.

    Raises:
        IdentityMismatchError: The folder holds another run.
        StoreError: What it says of its run is damaged.
    """
    path, text = folder / name, canonical_json(identity)
    if not path.is_file():
        with atomic_path(path) as temporary:
            temporary.write_text(text + "\n")
        return
    found = read_claim(path)
    difference = describe_difference(without_idle_rule(found), without_idle_rule(identity))
    if difference:
        raise IdentityMismatchError(
            f"{folder} holds a run with other settings or data ({difference})", remedy=_REMEDY
        )


def read_claim(path: Path) -> Identity:
    """What a folder says of the run that it holds.

    Raises:
        StoreError: The file is damaged.
    """
    return read_json(path, remedy=_REMEDY, allow_nan=False)


@contextlib.contextmanager
def alone_in(folder: Path, *, patient: bool = True) -> Iterator[None]:
    """Within it, no other process trains in the folder; the ranks of a run follow their first.

    Args:
        folder: Of the run; there or not. One that was not, and is empty in the end, is removed.
        patient: Whether to wait, where another process holds it, until it is known to be alive (it
            touches its claim) or gone: a job that is started again follows one that was killed.

    Raises:
        ClaimedElsewhere: Another process trains there.
        OutputError: The folder cannot be written.
    """
    if getattr(rank_zero_only, "rank", 0):
        yield
        return
    existed, first = folder.exists(), None
    try:
        with contextlib.ExitStack() as held:
            while True:
                try:
                    held.enter_context(claim(folder / PLAN_NAME))
                    break
                except ClaimedElsewhere as error:
                    if not patient or first not in (None, error.seen):
                        raise
                    if first is None:
                        _log.warning("%s; waiting until it is known to be alive", error.found)
                    first = error.seen
                sleep(_PAUSE_S)
            yield
    finally:
        if not existed:
            with contextlib.suppress(OSError):
                folder.rmdir()


@contextlib.contextmanager
def undone_if_refused(folder: Path, *patterns: str) -> Iterator[None]:
    """Within it, an error of the user's before the first checkpoint leaves the folder as it was.

    Otherwise a run refused for a setting would decide what the folder is for. A killed run leaves
    what it has.

    Args:
        folder: Of the run; there or not.
        *patterns: Files that it writes before its first checkpoint, as for `Path.glob`.
    """
    existed = folder.exists()
    before = set(folder.rglob("*")) if existed else set()
    try:
        yield
    except SlidenetError:
        if not any(folder.rglob("*.ckpt")):
            for path in (path for pattern in patterns for path in folder.glob(pattern)):
                if path not in before:
                    path.unlink(missing_ok=True)
            made = [path for path in folder.rglob("*") if path.is_dir() and path not in before]
            for place in [*sorted(made, reverse=True), *([] if existed else [folder])]:
                with contextlib.suppress(OSError):  # it holds something, of another run perhaps
                    place.rmdir()
        raise
