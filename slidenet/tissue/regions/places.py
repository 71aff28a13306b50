"""Which file of a folder holds the regions of a slide."""

from pathlib import Path, PurePath

from slidenet.core.errors import SlideError

SUFFIXES = (".geojson", ".json", ".geojson.gz", ".json.gz", ".xml")

_OWN_RECORD = b'"slidenet.'
"""How the format of slidenet's own records starts."""


def find_region_file(folder: str | Path, slide_id: str, slide_path: str | Path) -> Path | None:
    """The region file of a slide: its id or its file's name, and one of `SUFFIXES`.

    Args:
        folder: Where region files lie.
        slide_id: For example "case_7": case_7.geojson, case_7.xml.
        slide_path: For example scans/case_7.tif: case_7.tif.geojson.

    Returns:
        The file; None where there is none. What slidenet itself wrote as JSON that is no GeoJSON
        (the record of what was found on a slide) does not count.

    Raises:
        SlideError: There are several, or the id or a link leads out of the folder.
    """
    folder = Path(folder)
    names = dict.fromkeys((slide_id, PurePath(slide_path).name))
    for name in names:
        if not name.strip(".") or any(letter in name for letter in "/\\\0"):
            raise SlideError(
                f"the slide is called {name!a}, which leads out of {folder}",
                expected="a plain name, without folders",
                slide=slide_id,
            )
    found = [
        folder / f"{name}{suffix}"
        for name in names
        for suffix in SUFFIXES
        if _may_hold_regions(folder / f"{name}{suffix}")
    ]
    if len(found) > 1:
        raise SlideError(
            f"{folder} holds {' and '.join(path.name for path in found)}",
            expected="one file of regions per slide",
            remedy="move away all but one of them",
            slide=slide_id,
        )
    if found and not found[0].resolve().is_relative_to(folder.resolve()):
        raise SlideError(
            f"{found[0]} is a link to {found[0].resolve()}",
            expected="a file that lies in the folder of regions",
            remedy="copy the file there, or give the folder it lies in",
            slide=slide_id,
        )
    return found[0] if found else None


def _may_hold_regions(path: Path) -> bool:
    if not path.is_file():
        return path.exists()  # a folder or a device, which is refused by name when it is read
    if path.suffix != ".json":
        return True
    try:
        with path.open("rb") as file:
            return _OWN_RECORD not in file.read(64)
    except OSError:
        return True  # reading it says why it cannot be read
