"""`striate shards`: a folder of pictures as tar files, for data at scale."""

from pathlib import Path
from typing import Annotated

import typer

from striate.cli import _options as options


def shards(
    folder: Annotated[str, typer.Argument(help="A folder of images.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="The new folder for the shards.", show_default=False)],
    shard_mb: Annotated[int, typer.Option(min=1, metavar="MB", help="How large a shard is, about.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Of the order, and of what is set aside.")] = 0,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out files that cannot be decoded, and say so.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Write a folder of images as shards: tar files with KEY.jpg and KEY.cls, as WebDataset has them.

    Files keep their bytes; the splits are those that `striate train` would make of the folder. The shards' folder
    appears when it is whole.

    Examples:

    striate shards photos/ shards/

    striate train shards/
    """
    from striate.cli._show import show
    from striate.data import DataOptions, write_shards

    chosen = DataOptions(channels=3, size=(32, 32), unreadable="skip" if skip_unreadable else "error")
    with show() as listener:
        data, written = write_shards(
            folder, out, seed=seed, shard_bytes=shard_mb * 1_000_000, options=chosen, progress=listener.progress
        )
        for file in data.unreadable:
            listener.note(f"left out {file.path}: {file.reason}")
    if as_json:
        splits = {name: split._asdict() for name, split in written.items()}
        options.print_json({"shards": str(out), "splits": splits, "unreadable": len(data.unreadable)})
        return
    for name, split in written.items():
        print(f"{name:<5}  {split.samples:>9,} samples  {split.shards:>6,} shards  {split.bytes / 1e6:>10,.1f} MB")
    print(f"{out}: {len(data.classes)} classes; train with: striate train {out}")
