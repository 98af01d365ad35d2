"""A look inside networks: what each layer gives out, costs and sees. Data only, nothing is drawn."""

from striate.insight._compare import Comparison, compare
from striate.insight._differences import Difference
from striate.insight._error_terms import ErrorTerm, error_terms
from striate.insight._filters import Filters, first_filters
from striate.insight._published import Checked, check_published
from striate.insight._rows import Row
from striate.insight._summary import ReceptiveField, Summary, Totals, receptive_field, summarize

__all__ = [
    "Checked",
    "Comparison",
    "Difference",
    "ErrorTerm",
    "Filters",
    "ReceptiveField",
    "Row",
    "Summary",
    "Totals",
    "check_published",
    "compare",
    "error_terms",
    "first_filters",
    "receptive_field",
    "summarize",
]
