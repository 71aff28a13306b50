"""Slides in a child process: a crash or an endless loop of a library costs one slide."""

from slidenet.slides.isolation.pool import (
    can_isolate,
    check_isolation,
    end_all_processes,
    try_isolation,
)
from slidenet.slides.isolation.slide import IsolatedSlide, open_isolated

__all__ = [
    "IsolatedSlide",
    "can_isolate",
    "check_isolation",
    "end_all_processes",
    "open_isolated",
    "try_isolation",
]
