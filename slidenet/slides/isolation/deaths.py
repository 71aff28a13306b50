"""Why the process that read a slide ended, as an error about that slide."""

import re
import signal
from collections.abc import Sequence
from pathlib import Path

from slidenet.core.errors import SlideError, SlidenetError, UnreadableSlideError
from slidenet.slides.isolation.messages import Request
from slidenet.slides.limits import ReadingLimits

_AT_WORK = {
    "open": "opening it",
    "thumbnail": "its overview",
    "read_tiles": "a batch of its tiles",
    "fingerprint": "its fingerprint",
}


NO_THREAD = "can't start new thread"
"""What Python says."""

_ONCE = ("open", "thumbnail", "fingerprint")


def name_work(name: str) -> str:
    """What a request is about, as a noun."""
    return _AT_WORK.get(name, "one of its regions")


def explain(
    return_code: int | None,
    last_words: str,
    working: Sequence[Request],
    *,
    limits: ReadingLimits,
    stored_bytes: int,
    slide: str,
) -> SlidenetError:
    """The error for whoever waits for an answer of a process that has ended.

    Args:
        return_code: Negative: the signal that ended it; None where it does not end.
        last_words: The end of its standard error.
        working: The requests it had not answered.
        limits: What it had to keep.
        stored_bytes: Of the slide.
        slide: Name of the slide.
    """
    words = _last_line(last_words)
    said = f": {words}" if words else ""
    if return_code == -signal.SIGXCPU and working:
        longest = max(working, key=lambda request: request.cpu_s)
        # An overview gets what opening has left of the limit; the limit is what the user knows.
        limit = limits.overview_cpu_s(stored_bytes) if longest.name in _ONCE else longest.cpu_s
        return UnreadableSlideError(
            f"{name_work(longest.name)} took more than "
            f"{limit:.3g} s of CPU time, and the slide stores {stored_bytes / 1e6:,.1f} MB",
            expected="work that grows with the bytes stored",
            remedy="raise --cpu-limit-s if it is a large picture without small levels (or make "
            "a pyramid of it); else its header lies or it is damaged: copy or export it again",
            slide=slide,
        )
    if NO_THREAD in words:
        return no_thread(slide)
    if re.search(r"alloc|memory", words, re.IGNORECASE):
        return memory_exceeded(limits, slide, words)
    if return_code == -signal.SIGKILL:
        return UnreadableSlideError(
            f"the process that read it was killed from outside{said}",
            expected="enough memory for a slide on this machine",
            remedy="see whether the machine ran out of memory, and run again",
            slide=slide,
        )
    return UnreadableSlideError(
        f"a library crashed on it ({_ending(return_code)}{said})",
        expected="a file its library can read",
        remedy="copy it again, or export it with the scanner's software",
        slide=slide,
    )


def memory_exceeded(limits: ReadingLimits, slide: str, words: str = "") -> SlidenetError:
    """The slide wanted more memory than it may have; `words` are those of a library."""
    gigabytes = limits.max_memory_bytes / 1e9
    said = f" ({words})" if words else ""
    return UnreadableSlideError(
        f"reading it takes more than {gigabytes:g} GB of memory{said}",
        expected="a slide whose tiles, or whose whole image, fit into it",
        remedy="its header lies or it is damaged: copy or export it again; raise "
        "--memory-limit-gb if it is whole",
        slide=slide,
    )


def no_thread(slide: str) -> SlidenetError:
    """The machine gave the process no thread, which says nothing about the slide."""
    return SlideError(
        "the machine has no room for another thread of the process that reads it",
        expected="processes, threads and memory to spare",
        remedy="see `ulimit -u`, `ulimit -v` and the limits of the container, give a smaller "
        "--num-readers, or run again when the machine does less",
        slide=slide,
    )


def stalled(seconds: float, path: Path) -> SlidenetError:
    """The disk does not answer."""
    return UnreadableSlideError(
        f"for {seconds:.0f} s nothing of it could be read and nothing was computed",
        expected="a disk that answers",
        remedy=f"see whether {path} can be copied, and run again once it can",
        slide=path.name,
    )


def _ending(return_code: int | None) -> str:
    if return_code is None or return_code >= 0:
        return f"its process ended with code {return_code}"
    try:
        return signal.Signals(-return_code).name
    except ValueError:
        return f"signal {-return_code}"


def _last_line(text: str) -> str:
    """The last line that says something, printable and short."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = "".join(c if c.isprintable() else "?" for c in lines[-1]) if lines else ""
    return line[:200]
