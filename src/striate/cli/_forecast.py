"""`striate train --forecast`: what a training would take, and nothing else."""

from typing import TYPE_CHECKING, Any

from striate.cli import _options as options

if TYPE_CHECKING:
    from pathlib import Path

    from striate.training import Recipe


def foresee(recipe: "Recipe", data: str, folder: "Path", *, as_json: bool, **settings: Any) -> None:
    """Print the forecast of a run in `folder`; `settings` are those of `striate.training.forecast`.

    Raises StriateError, after it is printed, if the disk has no room for the run.
    """
    from striate.cli._show import show
    from striate.training import forecast, require_room

    with show() as listener:
        foreseen = forecast(recipe, data, folder, listener=listener, **settings)
    if as_json:
        options.print_json(foreseen.to_json())
    else:
        print(foreseen.as_text())
    require_room(folder, foreseen.disk_mib)
