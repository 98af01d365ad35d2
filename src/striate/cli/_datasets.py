"""`striate datasets`: the data sets known by name."""

import typer

from striate.cli import _options as options


def datasets(as_json: options.Json = False) -> None:
    """List the data sets known by name, with licence and size. Any folder of images is a data set too.

    A folder holds either a folder per class, or train/, val/ and test/ with a folder per class each.

    Example:

    striate datasets --json
    """
    from striate.data import KNOWN

    if as_json:
        options.print_json(
            [
                {
                    "name": known.name,
                    "title": known.title,
                    "licence": known.licence,
                    "classes": list(known.classes),
                    "bytes": sum(file.size for file in known.files),
                }
                for known in KNOWN.values()
            ]
        )
        return
    for known in KNOWN.values():
        size = sum(file.size for file in known.files)
        typer.secho(known.name, bold=True)
        print(f"  {known.title}\n  licence: {known.licence}; download: {f'{size / 1e6:.0f} MB' if size else 'none'}")
    print("\nor a folder of images: FOLDER/CLASS/IMAGE, or FOLDER/{train,val,test}/CLASS/IMAGE")
    print("or shards: FOLDER/{train,val,test}-NUMBER.tar, or a pattern or an address of such")
    print(
        "or series: FOLDER/CLASS/SERIES.csv (.tsv, .npy), or a table .csv or .tsv with a label and values in each row"
    )
