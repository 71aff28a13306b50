"""Whose run a folder holds: claimed when it begins, and given up when it is refused."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import torch.distributed as dist

from slidenet.core.errors import (
    ClaimedElsewhere,
    IdentityMismatchError,
    OutputError,
    SlidenetError,
)
from slidenet.core.provenance import Identity, canonical_json, describe_difference
from slidenet.core.window_rule import without_idle_rule
from slidenet.parallel.agreement import Failure, fail_on_all_ranks
from slidenet.parallel.collectives import gather_objects
from slidenet.stores import atomic_path
from slidenet.stores.claims import claim, claim_file
from slidenet.stores.json_file import read_json
from slidenet.stores.owners import host_name
from slidenet.training.ranks import entered_by_first, have_met, is_first

PLAN_NAME = "plan.json"

_log = logging.getLogger(__name__)
_PAUSE_S = 2.0
_SHARED_S = 60.0
"""So long a rank looks for what the first one wrote."""

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
    if have_met():
        with entered_by_first(lambda: _claimed(folder, patient)) as token:
            fail_on_all_ranks(
                lambda: None if is_first() else _check_shared(folder, token), _gathered, who="rank"
            )
            yield
    elif is_first():
        with _claimed(folder, patient):
            yield
    else:  # started by the first, which has claimed it
        yield


@contextlib.contextmanager
def _claimed(folder: Path, patient: bool) -> Iterator[str]:
    """The claim on the folder of a run; gives its token."""
    existed, first = folder.exists(), None
    try:
        with contextlib.ExitStack() as held:
            while True:
                try:
                    own = held.enter_context(claim(folder / PLAN_NAME))
                    break
                except ClaimedElsewhere as error:
                    if not patient or first not in (None, error.seen):
                        raise
                    if first is None:
                        _log.warning("%s; waiting until it is known to be alive", error.found)
                    first = error.seen
                sleep(_PAUSE_S)
            yield own.token
    finally:
        if not existed:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _check_shared(folder: Path, token: str) -> None:
    """Proves that the folder of this rank is that of the first.

    Raises:
        OutputError: It is another one, as on a disk of this node.
    """
    file, until = claim_file(folder / PLAN_NAME), monotonic() + _SHARED_S
    while True:
        with contextlib.suppress(OSError):  # network disks show new files late
            if token in file.read_text(errors="replace"):
                return
        if monotonic() > until:
            raise OutputError(
                f"{folder} on {host_name()} is not the folder that rank 0 works in",
                expected="one folder for all nodes",
                remedy="give --out on a disk that every node mounts under the same name",
            )
        sleep(0.1)


def _gathered(failure: Failure | None) -> list[Failure | None]:
    world = dist.group.WORLD
    assert world is not None, "the ranks have met"
    return gather_objects(failure, world)


@contextlib.contextmanager
def undone_if_refused(folder: Path, *patterns: str) -> Iterator[None]:
    """Within it, an error of the user's before the first checkpoint leaves the folder as it was.

    Otherwise a run refused for a setting would decide what the folder is for. A killed run leaves
    what it has.

    Args:
        folder: Of the run; there or not.
        *patterns: Files that it writes before its first checkpoint, as for `Path.glob`.
    """
    if not is_first():
        yield
        return
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
