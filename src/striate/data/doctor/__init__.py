"""What may spoil a training before it begins: files, folders, copies, labels; data are looked at, never changed."""

from striate.data.doctor._examine import LIKE_TRAINING, examine
from striate.data.doctor._findings import KINDS, Examination, File, Finding, Kind, Severity, Statistics
from striate.data.doctor._mislabelled import LikelyError, likely_errors
from striate.data.doctor._quick import suspicions, warning
from striate.data.doctor._report import write_html
from striate.data.doctor._text import as_text

__all__ = [
    "KINDS",
    "LIKE_TRAINING",
    "Examination",
    "File",
    "Finding",
    "Kind",
    "LikelyError",
    "Severity",
    "Statistics",
    "as_text",
    "examine",
    "likely_errors",
    "suspicions",
    "warning",
    "write_html",
]
