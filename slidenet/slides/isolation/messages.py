"""What the two processes say to each other, over one connection that carries pickles."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Place(NamedTuple):
    """A part of the shared file.

    Attributes:
        offset: Of its first byte; a multiple of the page size.
        length: Bytes.
    """

    offset: int
    length: int


class InPlace(NamedTuple):
    """An array that lies in the shared file instead of in the message.

    Attributes:
        place: Where.
        shape: Of the uint8 array.
    """

    place: Place
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """Asks for a method of the open slide, or to open one.

    Attributes:
        number: Answers carry it.
        name: What to do.
        arguments: Of the method.
        keywords: Of the method.
        cpu_s: CPU seconds this may take.
        memory_bytes: Memory the answer itself needs, on top of what any slide may take.
        num_threads: Threads that do it, beside the one that answers.
        place: Where the pixels of the answer belong; None: into the answer.
    """

    number: int
    name: str
    arguments: tuple[Any, ...] = ()
    keywords: dict[str, Any] = field(default_factory=dict)
    cpu_s: float = 0.0
    memory_bytes: int = 0
    num_threads: int = 0
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """Lets a stream of tiles go on by one batch.

    Attributes:
        number: Of the request.
        place: Where its pixels belong; None: into the answer.
    """

    number: int
    place: Place | None


@dataclass(frozen=True, slots=True)
class Cancel:
    """Ends a stream of tiles before its end.

    Attributes:
        number: Of the request.
    """

    number: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request.

    Attributes:
        number: Of the request.
        value: What the method returned; one batch of a stream.
        error: What it raised.
        last: Whether nothing more follows.
    """

    number: int
    value: Any = None
    error: BaseException | None = None
    last: bool = True


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line for the log of the parent.

    Attributes:
        logger: Name.
        level: Number of `logging`.
        text: The message, formatted.
    """

    logger: str
    level: int
    text: str
