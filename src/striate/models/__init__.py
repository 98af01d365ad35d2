"""Networks, each exactly as its paper has it: `build(name, ...)`, `names()`, `card(name)`."""

from striate.models._card import Card, Published
from striate.models.catalog import build, build_as_published, card, names, published

__all__ = ["Card", "Published", "build", "build_as_published", "card", "names", "published"]
