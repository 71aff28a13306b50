"""Faults of a cohort that make a classifier look better, or worse, than it is."""

from slidenet.evaluation.audit.audit_cohort import audit_cohort
from slidenet.evaluation.audit.cohort import DEFAULT_SETTINGS, AuditSettings
from slidenet.evaluation.audit.finding import CODES, Finding, Severity
from slidenet.evaluation.audit.reading import read_table_leniently

__all__ = [  # noqa: RUF022 - plain sorted order, as the architecture test asks
    "AuditSettings",
    "CODES",
    "DEFAULT_SETTINGS",
    "Finding",
    "Severity",
    "audit_cohort",
    "read_table_leniently",
]
