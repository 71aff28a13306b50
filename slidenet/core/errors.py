"""The errors slidenet raises for its users.

Every message says what was found, what was expected, what to do about it and, where there is one,
which slide it is about, on one line. `raise` is for users; `assert` is for our own mistakes.

What the machine, its disks and its memory do to the work on a slide (`fault_of`) says nothing about
the slide or the settings: the same command may end well the next time. It is told in one line, too,
without the traceback that a mistake of ours deserves.
"""

import errno
import re
from collections.abc import Set
from functools import partial

from slidenet.core.escapes import in_terminal


class SlidenetError(Exception):
    """Base of every error a user can cause or repair.

    Args:
        found: What was found, as a clause without a full stop.
        expected: What would have been right.
        remedy: What the user can do now.
        slide: The `slide_id` (or path) concerned.
    """

    def __init__(
        self, found: str, *, expected: str = "", remedy: str = "", slide: str = ""
    ) -> None:
        super().__init__(found)
        self.found = found
        self.expected = expected
        self.remedy = remedy
        self.slide = slide

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments would otherwise be lost between worker processes.
        further = {"expected": self.expected, "remedy": self.remedy, "slide": self.slide}
        return (partial(type(self), **further), (self.found,))

    def with_slide(self, slide: str) -> "SlidenetError":
        """The same error, about `slide`; a cohort knows its slides by `slide_id`."""
        self.slide = slide
        return self

    def __str__(self) -> str:
        text = f"slide {self.slide!r}: {self.found}" if self.slide else self.found
        if self.expected:
            text += f"; expected {self.expected}"
        if self.remedy:
            text += f". To fix: {self.remedy}"
        return in_terminal(" ".join(text.split()))


class SlideError(SlidenetError):
    """A slide cannot be used as it is."""


class UnreadableSlideError(SlideError):
    """Not a slide, truncated, or a format nobody here reads."""


class SlideTimeoutError(SlideError):
    """The work on one slide took longer than it may; nothing is said about the slide itself."""


class MissingMppError(SlideError):
    """The slide does not say its microns per pixel, or says nonsense."""


class ResolutionError(SlideError):
    """The asked resolution cannot be had from this slide (upsampling)."""


class EmptyTissueError(SlideError):
    """No tissue, or no tile left on the slide."""


class PixelReadError(SlideError):
    """Pixels of one region cannot be decoded; the rest of the slide may still be fine."""


class ManifestError(SlidenetError):
    """`slides.csv` cannot be read as a manifest."""


class StoreError(SlidenetError):
    """A file of ours is missing, broken, or not in the documented format."""


class IdentityMismatchError(StoreError):
    """An existing output was made with other settings or from another input."""


class StaleInputError(StoreError):
    """A file was made from another one, which has been replaced since."""


class OutputError(SlidenetError):
    """The output folder cannot be written (read-only, full)."""


class SystemFaultError(SlidenetError):
    """The machine, a disk or its memory failed; it may go well the next time."""


class ClaimedElsewhere(SlidenetError):
    """Another process is making the same file: no fault, but nothing to be done here.

    Attributes:
        seen: What was seen of its claim (`stores.claims.Sighting`); None where it is gone by now.
    """

    def __init__(
        self,
        found: str,
        *,
        expected: str = "",
        remedy: str = "",
        slide: str = "",
        seen: object = None,
    ) -> None:
        super().__init__(found, expected=expected, remedy=remedy, slide=slide)
        self.seen = seen


class LostClaim(ClaimedElsewhere):
    """Another process has taken over what this one was making, as it had not been heard of."""


class ArchiveError(SlidenetError):
    """A public archive refuses a question, or does not have what was asked for."""


class ArchiveAwayError(SystemFaultError):
    """A public archive does not answer; it may the next time."""


class ObjectStoreError(SlidenetError):
    """An object of a store (S3, a web server, ...) cannot be had as asked: none there, no right."""


class MissingObjectError(ObjectStoreError):
    """There is no such object, or no such bucket."""


class ObjectReplacedError(ObjectStoreError):
    """An object has become another one while it was read."""


class ObjectAwayError(SystemFaultError):
    """A store does not answer, or its network is cut; it may go well the next time."""


class DiskError(OutputError):
    """The disk takes nothing more: full, read-only or broken. Nothing that was typed is wrong."""


class UnknownNameError(SlidenetError):
    """A name that no registry entry carries."""


class EncoderError(SlidenetError):
    """A tile or slide encoder cannot be built or used."""


class MissingWeightsError(EncoderError):
    """Weights are neither given, nor cached, nor reachable (or access is not granted)."""


class WeightsMismatchError(EncoderError):
    """The weights file does not belong to this architecture."""


class AttentionError(SlidenetError):
    """Attention inputs of wrong shape, dtype or configuration."""


class CoordinateError(SlidenetError):
    """Coordinates of wrong shape, dtype, frame or extent."""


class ConfigError(SlidenetError):
    """A setting is out of range or contradicts another."""


class LabelError(SlidenetError):
    """The table of labels does not fit the task, or has no row for a bag."""


class SplitError(SlidenetError):
    """A split of patients cannot be made, read, or used."""


class PredictionsError(SlidenetError):
    """A table of predictions cannot be read as one."""


class AuditError(SlidenetError):
    """The audit before training found a fault, and strict was asked for."""


class ExplanationError(SlidenetError):
    """A map of a slide cannot be made, or is not what a map has to be."""


class NoMapError(ExplanationError):
    """A method can say nothing of this bag, such as of one tile; others may."""


class ParallelError(SlidenetError):
    """Ranks, meshes or chunks of a sequence that do not fit together."""


class LostRankError(ParallelError):
    """Another rank has died, or did not answer in time; its own log says why."""


class WorkerError(SlidenetError):
    """A process that is to work on slides cannot be started."""


class MissingExtraError(SlidenetError):
    """An optional package is not installed."""


class PluginError(SlidenetError):
    """Code of another package cannot be loaded, is something else, or may not be run."""


FAULTS = (OSError, MemoryError, OverflowError, RecursionError)
"""What Python raises for them; some libraries raise others (see `fault_of`)."""

AWAY = {
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.ENOTCONN,
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    getattr(errno, "ENOLINK", errno.ESTALE),
    getattr(errno, "ESHUTDOWN", errno.ESTALE),
}
"""A share that does not answer, by the numbers of the system."""

BROKEN = {errno.EIO, errno.ENXIO, errno.ENODEV, getattr(errno, "EREMOTEIO", errno.EIO)}
"""A disk that fails."""

_GONE = {errno.ENOENT, errno.ENOTDIR}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_TOO_MANY = {errno.EMFILE, errno.ENFILE}
_NO_MEMORY = re.compile(
    r"out of memory|can't allocate memory|cannot allocate memory|insufficient memory"
    r"|failed to allocate|bad.?alloc|can't start new thread",
    re.IGNORECASE,
)
"""Words of PyTorch, CUDA, OpenCV, OpenVINO and C++, which have errors of their own."""


def fault_of(error: BaseException) -> SystemFaultError | None:
    """What a fault of the system means for the user; None where the error is none.

    Args:
        error: Raised by Python or by a library.
    """
    if isinstance(error, OSError) and error.errno != errno.ENOMEM:
        return _of_disk(error)
    if isinstance(error, MemoryError | OSError) or _NO_MEMORY.search(str(error)):
        return SystemFaultError(
            f"there is not enough memory for it ({_one_line(error)})",
            expected="memory to spare on this machine",
            remedy="run less beside it, give a smaller --batch-size or --num-readers, or raise the "
            "limit (`ulimit -v`, that of the container or job), then run again",
        )
    if isinstance(error, OverflowError | RecursionError):
        words = "nested too deeply" if isinstance(error, RecursionError) else "too large a number"
        return SystemFaultError(
            f"what it says cannot be worked on: {words} ({_one_line(error)})",
            expected="a file as its program writes it",
            remedy="copy or export the file again",
        )
    return None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _of_disk(error: OSError) -> SystemFaultError:
    reason = error.strerror or _one_line(error)
    name = "" if error.filename is None else f"{error.filename}: "
    cases: tuple[tuple[Set[int | None], str, str], ...] = (
        (AWAY, "a share that answers", "see that the share is mounted and reachable"),
        (BROKEN, "a disk that can be read", "see whether the disk or the share is well"),
        (_GONE, "a file that stays", "see that its disk is there and nobody moves or deletes it"),
        (_FORBIDDEN, "the right to use it", "see to whom the file and its folder belong"),
        (_FULL, "room to write", "free some disk space or choose another output folder"),
        (_TOO_MANY, "fewer open files", "raise `ulimit -n`, or give a smaller --num-readers"),
    )
    expected, remedy = next(
        ((expected, remedy) for numbers, expected, remedy in cases if error.errno in numbers),
        ("a system that does it", "see whether the disk or the share is well"),
    )
    return SystemFaultError(
        f"{name}{reason}", expected=expected, remedy=f"{remedy}, then run again: done work stays"
    )
