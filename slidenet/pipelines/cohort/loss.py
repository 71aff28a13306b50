"""How much of a slide may be lost before the slide is."""

from slidenet.core.errors import UnreadableSlideError
from slidenet.core.text import count_of


def most_unreadable(num_tiles: int, max_unreadable: float) -> int:
    """How many tiles of a slide may be unreadable.

    Args:
        num_tiles: Of the slide.
        max_unreadable: Share of them; one tile may always be, but where it is 0.
    """
    if not max_unreadable:
        return 0
    return max(1, int(max_unreadable * num_tiles + 1e-9))


def check_loss(
    num_unreadable: int,
    num_tiles: int,
    max_unreadable: float,
    reason: str | None,
    *,
    num_asked: int | None = None,
    slide: str = "",
) -> None:
    """Refuses a slide that has lost more tiles than it may.

    Args:
        num_unreadable: Its tiles that could not be read.
        num_tiles: All of them.
        max_unreadable: See `most_unreadable`.
        reason: Why the first one could not be.
        num_asked: How many were asked for, where not all were.
        slide: Its id.

    Raises:
        UnreadableSlideError: With the reason.
    """
    most = most_unreadable(num_tiles, max_unreadable)
    if num_unreadable <= most:
        return
    of = f"{num_tiles} tiles"
    if num_asked is not None and num_asked < num_tiles:
        of = f"first {num_asked} tiles (of {num_tiles})"
    raise UnreadableSlideError(
        f"{num_unreadable} of its {of} could not be read" + (f": {reason}" if reason else ""),
        expected=f"at most {count_of('unreadable tile', most)} (--max-unreadable "
        f"{max_unreadable:g})",
        remedy="see that its disk is well, or copy the slide again, then run again: of what was "
        "read before, only these tiles are read; a higher --max-unreadable accepts the loss",
        slide=slide,
    )
