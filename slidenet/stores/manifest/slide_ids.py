"""What may be a `slide_id`: the name of files on whatever disk the outputs end up on.

Refused is what some disk refuses or changes, and what no reader sees. All else is a name: spaces,
accents, any script, emoji, `#`, `%`, `=`, a leading `-`. Who prints one escapes it
(`slidenet.core.escapes`).
"""

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import permutations
from pathlib import Path, PurePosixPath

from slidenet.core.escapes import in_terminal
from slidenet.core.records import SlideRow
from slidenet.core.text import count_of, name_some
from slidenet.slides.tile_images.listing import DEEPZOOM_FOLDER
from slidenet.stores.csv_table import ErrorKind
from slidenet.stores.manifest.look_alikes import look_alikes, unlike_signs
from slidenet.stores.objects import is_uri, name_of_uri, shown_uri

MAX_SLIDE_ID_BYTES = 200
"""In UTF-8. Most disks take 255 in the name of a file, of which endings need some."""

_UNSAFE = re.compile(r'[/\\<>:"|?*]')
_UNSEEN = {
    "Cc": "a control character",
    "Cf": "a format character, which nobody sees",
    "Zl": "a separator of lines",
    "Zp": "a separator of paragraphs",
    "Cs": "half a character: the name is no valid UTF-8",
}
_ENDS = re.compile(r"^[\s.]+|[\s.]+$")
_DEVICE = re.compile(
    r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|CLOCK\$|(COM|LPT)[0-9\u00b9\u00b2\u00b3])", re.IGNORECASE
)
"""Names that Windows keeps for devices, whatever ending follows them."""


def id_of_path(path: Path) -> str:
    """The `slide_id` of a slide that was given without one: its name without the ending.

    Of a folder the whole name, where a dot begins no ending; of the folder of a DeepZoom picture
    what comes before `_files`.
    """
    if not os.path.isdir(path):  # False too for what is too long for a name
        return path.stem
    return path.name.removesuffix(DEEPZOOM_FOLDER)


def id_of_place(slide_path: str) -> str:
    """The `slide_id` of a slide that was given without one, by its path or address."""
    if not is_uri(slide_path):
        return id_of_path(Path(slide_path))
    name = name_of_uri(slide_path)
    return name if shown_uri(slide_path).endswith("/") else PurePosixPath(name).stem


def check_slide_ids(
    rows: Sequence[SlideRow],
    places: Sequence[str],
    *,
    error: ErrorKind,
    repeats: bool = False,
) -> None:
    """Refuses slide_ids that cannot be names of files everywhere, and those that come twice.

    Args:
        rows: The slides.
        places: Where each is named, for the message.
        error: Class of the error.
        repeats: Whether a slide may have several rows, with one spelling of its slide_id.

    Raises:
        SlidenetError: Of class `error`: what is wrong with the first, and which others.
    """
    wrong = [(i, said) for i, row in enumerate(rows) if (said := _wrong_with(row.slide_id))]
    if wrong:
        first, said = wrong[0]
        raise error(
            f"{places[first]}: slide_id {said}" + _more(rows[i].slide_id for i, _ in wrong[1:]),
            expected=f"a name that can be a file name, at most {MAX_SLIDE_ID_BYTES} bytes",
            remedy="give the slide a plain slide_id in a table, or rename its file",
        )
    _refuse_duplicates(rows, places, error, repeats)


def _more(slide_ids: Iterable[str]) -> str:
    """`; so do 2 more: 'b', 'c'`; "" for none."""
    named = [repr(slide_id) for slide_id in slide_ids]
    return f"; so is it with {len(named)} more: {name_some(named, most=10)}" if named else ""


def _wrong_with(slide_id: str) -> str:
    """What keeps a name from being a slide_id; "" for nothing."""
    if not slide_id:
        return "is empty"
    for sign in slide_id:
        unseen = _UNSEEN.get(unicodedata.category(sign))
        if unseen:
            name = unicodedata.name(sign, "").lower()
            code = f"U+{ord(sign):04X} {name}".rstrip()
            return f"{_shown(slide_id)} holds {code}, {unseen}"
    unsafe = _UNSAFE.search(slide_id)
    if unsafe:
        return f"{_shown(slide_id)} holds {unsafe.group()!r}"
    if slide_id.startswith(".") or slide_id != slide_id.strip() or slide_id.endswith("."):
        return f"{_shown(slide_id)} begins or ends with a dot or a space"
    if _DEVICE.fullmatch(slide_id.partition(".")[0].rstrip()):
        return f"{_shown(slide_id)} is the name of a device of Windows"
    size = len(slide_id.encode())
    if size > MAX_SLIDE_ID_BYTES:
        return f"{_shown(slide_id)} has {size} bytes"
    return ""


def _shown(slide_id: str) -> str:
    return repr(slide_id if len(slide_id) <= 60 else slide_id[:20] + "...")


def name_for_file(text: str) -> str:
    """A text as the name of a file or folder on any disk: `Tumor: Necrosis` is `Tumor_ Necrosis`.

    Two texts may become one name.
    """
    signs = ("_" if unicodedata.category(sign) in _UNSEEN else sign for sign in text)
    name = _UNSAFE.sub("_", "".join(signs))
    name = _ENDS.sub("", name).encode()[:MAX_SLIDE_ID_BYTES].decode(errors="ignore")
    name = _ENDS.sub("", name)
    device = _DEVICE.fullmatch(name.partition(".")[0].rstrip())
    return f"_{name}" if device else name or "_"


def same_on_disk(slide_id: str) -> str:
    """The same for names that some disks cannot tell apart: by case, or how accents are written."""
    folded = unicodedata.normalize("NFC", slide_id).casefold()
    return unicodedata.normalize("NFC", folded)


def _refuse_duplicates(
    rows: Sequence[SlideRow], places: Sequence[str], error: ErrorKind, repeats: bool
) -> None:
    """Refuses a slide_id that comes twice, even in other letters."""
    seen: dict[str, tuple[str, str]] = {}
    again: list[tuple[str, str]] = []
    for row, place in zip(rows, places, strict=True):
        # Some disks cannot tell names apart by case or by how an accent is written.
        key = same_on_disk(row.slide_id)
        if key in seen and not (repeats and seen[key][0] == row.slide_id):
            again.append((row.slide_id, place))
        seen.setdefault(key, (row.slide_id, place))
    if not again:
        return
    slide_id, place = again[0]
    first_id, first_place = seen[same_on_disk(slide_id)]
    raise error(
        f"{place}: slide_id {slide_id!r} is already taken by {first_id!r} ({first_place})"
        + _more(name for name, _ in again[1:]),
        expected="a slide_id of its own for every slide, whatever the case of its letters",
        remedy="name each slide in the column slide_id of the table",
    )


def look_alike_notes(slide_ids: Sequence[str]) -> list[str]:
    """A line about slides whose ids a reader cannot tell apart, where there are any."""
    groups = look_alikes(slide_ids)
    if not groups:
        return []
    shown = []
    for group in groups:
        signs = dict.fromkeys(
            words
            for one, other in permutations(group[:3], 2)
            if (words := unlike_signs(one, other))
        )
        named = name_some(map(repr, group))
        shown.append(f"{named} ({'; '.join(signs)})" if signs else named)
    return [
        in_terminal(
            f"{count_of('group', len(groups))} of slide_ids that look alike, taken for different "
            f"slides: {'; '.join(shown[:5])}" + (f" and {len(shown) - 5} more" * (len(shown) > 5))
        )
    ]
