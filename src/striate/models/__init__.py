"""Networks, each exactly as its paper has it: `build(name, ...)`, `names()`, `card(name)`; `load_weights`."""

from typing import TYPE_CHECKING, Any

from striate.models._card import Card, Published
from striate.models.catalog import build, build_as_published, card, names, published

if TYPE_CHECKING:
    from striate.models.weights import LoadReport, load_weights

__all__ = [
    "Card",
    "LoadReport",
    "Published",
    "build",
    "build_as_published",
    "card",
    "load_weights",
    "names",
    "published",
]


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is first asked for: the list of networks stays light."""
    if name in {"LoadReport", "load_weights"}:
        from striate.models import weights

        return getattr(weights, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
