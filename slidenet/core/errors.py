"""The errors slidenet raises for its users.

Every message says what was found, what was expected, what to do about it and, where there is one,
which slide it is about, on one line. `raise` is for users; `assert` is for our own mistakes.
"""

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


class OutputError(SlidenetError):
    """The output folder cannot be written (read-only, full)."""


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


class ParallelError(SlidenetError):
    """Ranks, meshes or chunks of a sequence that do not fit together."""


class MissingExtraError(SlidenetError):
    """An optional package is not installed."""


class PluginError(SlidenetError):
    """Code of another package cannot be loaded, is something else, or may not be run."""
