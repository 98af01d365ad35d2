"""Networks, each exactly as its paper has it: `build(name, ...)`, `names()`, `card(name)`."""

from striate.models.catalog import Card, build, card, names

__all__ = ["Card", "build", "card", "names"]
