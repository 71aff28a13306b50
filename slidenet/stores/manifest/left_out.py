"""What of a folder is not among its slides, and why: nothing is left out without a word."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from slidenet.core.escapes import in_terminal
from slidenet.core.records import SlideRow
from slidenet.core.text import count_of, name_some

_MOST_NAMED = 10


class Why(Enum):
    """Why an entry of a folder is no slide of the cohort.

    Attributes:
        one: What it is, in words.
        many: What several are.
        remedy: What the user can do; "" for nothing.
    """

    SUBFOLDER = ("subfolder", "subfolders", "--recursive takes the slides of subfolders, too")
    NO_TILES = ("subfolder without tile images", "subfolders without tile images", "")
    OUTPUT = ("folder with outputs of slidenet", "folders with outputs of slidenet", "")
    SEEN = ("link to a folder listed already", "links to folders listed already", "")
    FOREIGN = (
        "slide of a format that no reader here knows",
        "slides of formats that no reader here knows",
        "convert them into pyramidal OME-TIFFs",
    )
    PART = ("part or copy of another slide", "parts or copies of other slides", "")
    HIDDEN = ("hidden entry", "hidden entries", "")
    OTHER_ENDING = ("file with the ending of no slide", "files with the ending of no slide", "")
    BROKEN_LINK = ("link to what is not there", "links to what is not there", "")
    SPECIAL = ("pipe, device or socket", "pipes, devices or sockets", "")
    UNREADABLE = (
        "entry that cannot be read",
        "entries that cannot be read",
        "check their permissions and the disk",
    )

    def __init__(self, one: str, many: str, remedy: str) -> None:
        self.one, self.many, self.remedy = one, many, remedy


@dataclass
class FolderSlides:
    """The slides of a folder, and what else lies there.

    Attributes:
        folder: The folder, or its address.
        rows: Its slides, in order of their paths.
        left_out: What is no slide of the cohort, by why: names from the folder on.
        remarks: What else to know about how slides were found, a line each.
    """

    folder: Path | str
    rows: Sequence[SlideRow] = ()
    left_out: dict[Why, list[str]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def leave_out(self, why: Why, name: str) -> None:
        """Remembers an entry."""
        self.left_out.setdefault(why, []).append(name)

    def count(self, why: Why) -> str:
        """How many entries were left out for one reason, and the names of the first."""
        names = sorted(self.left_out[why])
        noun = why.one if len(names) == 1 else why.many
        return f"{len(names)} {noun} ({name_some(names, most=_MOST_NAMED, longest=200)})"

    def lines(self) -> Iterator[str]:
        """What to tell about the folder, a line each."""
        for why in Why:
            if why in self.left_out:
                end = f"; {why.remedy}" if why.remedy else ""
                yield in_terminal(f"{self.folder}: left out {self.count(why)}{end}")
        for remark in self.remarks:
            yield in_terminal(f"{self.folder}: {remark}")


def some_slides(names: Sequence[str]) -> str:
    """`3 slides (a.svs, b.svs, c.svs)`."""
    return f"{count_of('slide', len(names))} ({name_some(names, most=_MOST_NAMED, longest=200)})"
