"""`slidenet validate`: are these files whole and sound?"""

from pathlib import Path

from slidenet.core.errors import StoreError
from slidenet.pipelines.inspection.checks import Check, CheckList
from slidenet.stores import validate_file


def validate(paths: list[Path]) -> CheckList:
    """Check h5 files written by slidenet, contents included.

    Args:
        paths: Files, or folders searched for .h5 files.
    """
    files = [file for path in paths for file in _h5_files(path)]
    return CheckList([_check(file) for file in files])


def _h5_files(path: Path) -> list[Path]:
    if not path.exists():
        raise StoreError(f"there is no {path}", expected="a file or folder slidenet wrote")
    if path.is_file():
        return [path]
    found = sorted(p for p in path.rglob("*.h5") if not p.name.startswith("."))
    if not found:
        raise StoreError(f"{path} holds no .h5 files", expected="an output folder of slidenet")
    return found


def _check(file: Path) -> Check:
    problems = validate_file(file)
    if problems:
        # One whose reading failed says its name and remedy itself.
        found = "; ".join(problems).removeprefix(f"{file} ")
        remedy = "" if "To fix:" in found else "delete it and make it again"
        return Check(str(file), "problem", found, remedy)
    return Check(str(file), "ok", "sound")
