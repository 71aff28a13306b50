"""Which slides get a picture, so that a report of any cohort stays a file that opens at once."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from slidenet.visualisation.html import Picture


@dataclass
class PictureBudget:
    """How many bytes pictures may still take.

    Attributes:
        left: Bytes.
        ran_out: Whether one was refused.
    """

    left: int
    ran_out: bool = field(default=False, init=False)

    def takes(self, picture: Picture | None) -> bool:
        """Whether there is room for a picture, which then is taken."""
        size = 0 if picture is None else picture.num_bytes
        if size > self.left:
            self.ran_out = True
            return False
        self.left -= size
        return True


def in_turn(number: int, first: int) -> list[int]:
    """An order of 0 to `number` - 1 of which every beginning is a fair sample.

    The `first` ones come as they are; the others so that any beginning of them lies evenly over
    all: the bits of their number read backwards (van der Corput, 1935).

    Args:
        number: How many there are.
        first: So many lead.
    """
    first = min(first, number)
    rest = number - first
    bits = max(rest - 1, 1).bit_length()
    spread = sorted(range(rest), key=lambda i: int(f"{i:0{bits}b}"[::-1], 2))
    return [*range(first), *(first + i for i in spread)]


def take_pictures(
    ordered: Sequence[str],
    make: Callable[[str], Picture | None],
    budget: PictureBudget,
    *,
    most: int,
    first: int,
) -> dict[str, Picture | None]:
    """Pictures of a sample of slides.

    Args:
        ordered: Slides, those to look at first.
        make: The picture of a slide.
        budget: Bytes they may take.
        most: Pictures.
        first: So many of the first slides are shown before the others are sampled.

    Returns:
        By slide, in the order of `ordered`.
    """
    taken: dict[int, Picture | None] = {}
    for place in in_turn(len(ordered), first):
        if len(taken) == most:
            break
        picture = make(ordered[place])
        if not budget.takes(picture):
            break
        taken[place] = picture
    return {ordered[place]: taken[place] for place in sorted(taken)}


def words_of_sample(shown: int, of: int, what: str, why: str, remedy: str) -> str | None:
    """Says that not all are shown; None where all are."""
    if shown == of:
        return None
    return f"{shown:,} of {of:,} {what} are shown: {why}. {remedy}"


def total_bytes(texts: Iterable[str]) -> int:
    """How many bytes texts take in a file."""
    return sum(len(text.encode("utf-8")) for text in texts)
