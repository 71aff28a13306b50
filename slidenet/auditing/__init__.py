"""Floor 6: faults of a cohort that make a classifier look better, or worse, than it is."""

from slidenet.auditing.checklist import audit_cohort
from slidenet.auditing.cohort import DEFAULT_SETTINGS, AuditSettings
from slidenet.auditing.finding import CODES, Finding, Severity
from slidenet.auditing.table_checks import read_table_leniently

__all__ = [  # noqa: RUF022 - plain sorted order, as the architecture test asks
    "AuditSettings",
    "CODES",
    "DEFAULT_SETTINGS",
    "Finding",
    "Severity",
    "audit_cohort",
    "read_table_leniently",
]
