"""`striate runtime`: what this machine has, what is chosen from it, and why."""

from typing import TYPE_CHECKING, Annotated

import typer

from striate.cli import _options as options

if TYPE_CHECKING:
    from striate.runtime import Machine, Runtime


def runtime(
    measure: Annotated[bool, typer.Option("--measure", help="Measure again how fast this machine multiplies.")] = False,
    as_json: options.Json = False,
) -> None:
    """Show how networks are computed on this machine: precision, kernels, threads, memory, and why.

    What is said of precision holds for networks of some size; small ones are computed in float32. docs/runtime.md
    explains each part and how to turn it off.

    Examples:

    striate runtime

    striate runtime --measure --json
    """
    from striate.runtime import busy, choose, machine

    here = machine(measure_again=measure)
    chosen = choose(here=here)
    warning = busy(chosen.threads)
    if as_json:
        options.print_json(
            {
                "machine": here.to_json(),
                "chosen": chosen.to_json(),
                "reasons": dict(chosen.reasons),
                "warnings": [warning] if warning else [],
            }
        )
    else:
        print(_text(here, chosen))
        if warning:
            print(f"\n{warning}")


def _text(here: "Machine", chosen: "Runtime") -> str:
    rates = here.rates
    rows = [
        ("processor", f"{here.processor}, {here.cores} cores ({', '.join(here.features) or 'features unknown'})"),
        ("memory", f"{here.memory / 2**30:.1f} GiB" + (f", huge pages: {here.huge_pages}" if here.huge_pages else "")),
        ("PyTorch", here.torch),
        ("kernels", f"built, {here.native}" if here.native else "not built"),
        (
            "one core",
            f"{rates.f32:.0f} GFLOP/s in float32, "
            + (f"{rates.bf16:.0f} in bfloat16" if rates.bf16 else "no instructions for bfloat16"),
        ),
    ]
    values = {
        "precision": chosen.precision,
        "native": chosen.native or "off",
        "small": "on" if chosen.small else "off",
        "linear": chosen.linear,
        "channels_last": "on" if chosen.channels_last else "off",
        "threads": str(chosen.threads),
        "keep_memory": "on" if chosen.keep_memory else "off",
    }
    lines = [f"{name:<14} {value}" for name, value in rows]
    lines += ["", "chosen"]
    lines += [f"  {name:<14} {value:<8} {chosen.reasons[name]}" for name, value in values.items()]
    return "\n".join(lines)
