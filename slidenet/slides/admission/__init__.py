"""Which files are admitted as slides, by kind of fault; asked before any reader."""

from slidenet.slides.admission.content import describe_content, explain_content, way_out
from slidenet.slides.admission.files import check_file
from slidenet.slides.admission.openslide_errors import narrow_samples, why_not_opened
from slidenet.slides.admission.overview import check_overview
from slidenet.slides.admission.pyramid import check_pyramid
from slidenet.slides.admission.scanner_files import (
    SCANNER_FORMATS,
    check_foreign_format,
    check_no_scanner_file,
)
from slidenet.slides.admission.tiff import check_picture, check_whole_tiff
from slidenet.slides.admission.vendor_files import check_vendor_files

__all__ = [
    "SCANNER_FORMATS",
    "check_file",
    "check_foreign_format",
    "check_no_scanner_file",
    "check_overview",
    "check_picture",
    "check_pyramid",
    "check_vendor_files",
    "check_whole_tiff",
    "describe_content",
    "explain_content",
    "narrow_samples",
    "way_out",
    "why_not_opened",
]
