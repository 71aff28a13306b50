"""Which files are admitted as slides, by kind of fault; asked before any reader."""

from slidenet.slides.admission.content import describe_content
from slidenet.slides.admission.files import check_file
from slidenet.slides.admission.truncation import check_complete, find_truncation

__all__ = ["check_complete", "check_file", "describe_content", "find_truncation"]
