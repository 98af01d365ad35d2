"""Machines that are not here."""

from typing import Any

from striate.runtime import Machine, Rates

SERVER = Machine(
    processor="Some Server",
    features=("avx2", "avx512f", "avx512_bf16"),
    cores=8,
    memory=64 << 30,
    native="avx512",
    glibc=True,
    huge_pages="madvise",
    torch="2.13.0",
    rates=Rates(f32=100.0, onednn_gain=1.2, bf16=210.0),
)


def server(**changes: Any) -> Machine:
    from dataclasses import replace

    return replace(SERVER, **changes)
