"""Recipes by name, each a function that returns a frozen value; what their papers say, with the section on the line."""

from striate.training.recipes._choice import default_recipe
from striate.training.recipes._names import RECIPES, departures, named_recipe
from striate.training.recipes._smoke import smoke
from striate.training.recipes._table import row, table

__all__ = ["RECIPES", "default_recipe", "departures", "named_recipe", "row", "smoke", "table"]
