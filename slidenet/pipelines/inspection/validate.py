"""`slidenet validate`: are these files whole and sound?"""

from pathlib import Path

from slidenet.core.errors import StaleInputError, StoreError
from slidenet.pipelines.inspection.checks import Check, CheckList
from slidenet.stores.h5.ancestors import check_features_of, check_tiles_of
from slidenet.stores.h5.validate import inspect_file


def validate(paths: list[Path], *, deep: bool = False) -> CheckList:
    """Check h5 files written by slidenet: attributes, coordinates, status, digests, stale inputs.

    Args:
        paths: Files, or folders searched for .h5 files.
        deep: Read the features, too, and compare every byte with its digest.
    """
    files = [file for path in paths for file in _h5_files(path)]
    return CheckList([_check(file, deep=deep) for file in files])


def _h5_files(path: Path) -> list[Path]:
    if not path.exists():
        raise StoreError(f"there is no {path}", expected="a file or folder slidenet wrote")
    if path.is_file():
        return [path]
    found = sorted(p for p in path.rglob("*.h5") if not p.name.startswith("."))
    if not found:
        raise StoreError(f"{path} holds no .h5 files", expected="an output folder of slidenet")
    return found


def _check(file: Path, *, deep: bool) -> Check:
    verdict = inspect_file(file, deep=deep)
    if verdict.problems:
        # One whose reading failed says its name and remedy itself.
        found = "; ".join(verdict.problems).removeprefix(f"{file} ")
        remedy = "" if "To fix:" in found else "delete it and make it again"
        return Check(str(file), "problem", found, remedy)
    try:
        check_tiles_of(file)
        check_features_of(file)
    except StaleInputError as error:
        return Check(str(file), "problem", error.found.removeprefix(f"{file} "), error.remedy)
    except StoreError:  # of the file it was made from, which has a line of its own
        pass
    notes = ["sound"]
    if verdict.num_unread:
        notes.append(f"{verdict.num_unread / 2**20:.1f} MiB of features not read (--deep does)")
    if not verdict.has_digests:
        notes.append("no digests: written by a version of slidenet that had none")
    return Check(str(file), "ok", "; ".join(notes))
