"""A look inside networks: what each layer gives out, costs and sees. Data only, nothing is drawn."""

from striate.insight._rows import Row
from striate.insight._summary import Summary, Totals, summarize

__all__ = ["Row", "Summary", "Totals", "summarize"]
