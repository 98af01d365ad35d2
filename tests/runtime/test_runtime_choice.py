"""What is chosen for machines that are here and that are not, and the reasons that are given."""

import os
from typing import Any

import pytest
import torch
from machines import server
from torch import nn

from striate.errors import InputError
from striate.models import build
from striate.runtime import (
    Rates,
    Runtime,
    RuntimeOptions,
    _allocator,
    busy,
    choose,
    choose_for_use,
    products,
    why_not_small,
)

LAPTOP = server(features=("avx2", "fma"), native="avx2", cores=2)


@pytest.mark.parametrize(
    ("here", "work", "options", "precision", "reason"),
    [
        (server(), None, {}, "bf16", "bfloat16 multiplies 2.1 times as fast as float32 here"),
        (server(), 10**9, {}, "bf16", "bfloat16 multiplies 2.1 times as fast as float32 here"),
        (
            server(),
            325_680,
            {},
            "high",
            "the network is small (325,680 products a picture): bfloat16 gains nothing",
        ),
        (LAPTOP, None, {}, "high", "the processor has no instructions for bfloat16"),
        (
            server(rates=Rates(100.0, 1.0, 125.0)),
            None,
            {},
            "high",
            "bfloat16 multiplies 1.2 times as fast as float32 here",
        ),
        (server(), None, {"precision": "exact"}, "exact", "as asked for"),
        (
            LAPTOP,
            None,
            {"precision": "bf16"},
            "bf16",
            "as asked for, though the processor has no instructions for bfloat16",
        ),
    ],
)
def test_precision(here: Any, work: int | None, options: dict[str, Any], precision: str, reason: str) -> None:
    chosen = choose(RuntimeOptions(**options), work=work, here=here)
    assert (chosen.precision, chosen.reasons["precision"]) == (precision, reason)


def test_kernels() -> None:
    assert choose(here=LAPTOP).native == "avx2"
    off = choose(RuntimeOptions(native=False), here=LAPTOP)
    assert (off.native, off.reasons["native"]) == (None, "as asked for")
    without = choose(here=server(native=None))
    assert without.native is None
    assert "no C++ compiler when Striate was installed" in without.reasons["native"]
    with pytest.raises(InputError, match=r"^runtime: Striate's kernels were asked for and are not built here; install"):
        choose(RuntimeOptions(native=True), here=server(native=None))


def test_small_networks() -> None:
    assert choose(here=LAPTOP).small
    for options, more, reason in (
        (RuntimeOptions(small=False), {}, "as asked for"),
        (RuntimeOptions(native=False), {}, "Striate's kernels are not used"),
        (RuntimeOptions(precision="bf16"), {}, "products are of bfloat16"),
        (RuntimeOptions(), {"device": "cuda"}, "a GPU computes"),
        (RuntimeOptions(), {"not_small": "it is wide"}, "it is wide"),
    ):
        chosen = choose(options, here=LAPTOP, **{"device": "cpu", **more})
        assert (chosen.small, chosen.reasons["small"]) == (False, reason)
    with pytest.raises(InputError, match=r"was to be computed as one \(small\) and cannot be: it is wide"):
        choose(RuntimeOptions(small=True), not_small="it is wide", here=LAPTOP)


def test_small_networks_stay_what_they_were_in_training() -> None:
    for trained, small in ((None, True), ({"small": True}, True), ({"small": False}, False), ({"threads": 2}, False)):
        assert choose_for_use(trained=trained, here=LAPTOP).small is small
    assert choose_for_use(RuntimeOptions(small=True), trained={"small": False}, here=LAPTOP).small


def test_which_networks_are_small() -> None:
    assert why_not_small(build("lenet5", channels=1), (1, 32, 32)) is None
    assert "BatchNorm2d" in str(why_not_small(build("convnet", channels=1, size=(28, 28)), (1, 28, 28)))


def test_dense_layers() -> None:
    chosen = choose(here=server())
    assert chosen.linear == "onednn"
    assert chosen.reasons["linear"] == "oneDNN computes a dense layer 1.2 times as fast as torch.mm here, in float32"
    assert choose(here=server(rates=Rates(100.0, 1.05, 10.0))).linear == "aten"
    without = choose(here=server(rates=Rates(100.0, 0.0, 10.0)))
    assert (without.linear, without.reasons["linear"]) == ("aten", "PyTorch has no oneDNN here")
    assert choose(RuntimeOptions(onednn_linear=False), here=server()).linear == "aten"
    assert choose(RuntimeOptions(onednn_linear=True), here=LAPTOP).linear == "onednn"


def test_threads_are_pytorchs_but_no_more_than_cores() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        assert choose(here=server(cores=8)).threads == 4
        assert choose(here=server(cores=2)).threads == 2
        assert choose(RuntimeOptions(threads=3), here=server(cores=2)).threads == 3
    finally:
        torch.set_num_threads(before)


def test_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not choose(RuntimeOptions(keep_memory=False), here=server()).keep_memory
    limited = choose(RuntimeOptions(keep_mib=512), here=server())
    assert limited.keep_mib == 512
    if limited.keep_memory:
        assert limited.reasons["keep_memory"].endswith("at most 512 MiB")
    for wrong in (-1, 2048, 1.5, True):
        with pytest.raises(InputError, match=r"keep_mib must be 0 \(any\) to 2047 MiB"):
            RuntimeOptions(keep_mib=wrong)  # type: ignore[arg-type]
    monkeypatch.setattr(_allocator, "_malloc", lambda: None)
    other = choose(here=server())
    assert not other.keep_memory
    assert other.reasons["keep_memory"] == "memory is not glibc's, or the environment has set how it is kept"


def test_every_choice_has_a_reason() -> None:
    for here in (server(), LAPTOP, server(native=None, glibc=False)):
        chosen = choose(here=here)
        assert set(chosen.reasons) == set(chosen.to_json()) - {"keep_mib", "emulated"}
        assert all(chosen.reasons.values())


@pytest.mark.parametrize(
    ("trained", "precision", "native", "channels_last"),
    [
        (None, "high", "avx512", True),
        ({"precision": "bf16", "native": "avx2", "channels_last": True}, "high", "avx512", True),
        ({"precision": "exact", "native": "avx512", "channels_last": False}, "exact", "avx512", False),
        ({"precision": "high", "native": None, "channels_last": True}, "high", None, True),
        ("nonsense", "high", "avx512", True),
        ([1], "high", "avx512", True),
    ],
)
def test_finished_networks_are_used_in_float32(
    trained: object, precision: str, native: str | None, channels_last: bool
) -> None:
    chosen = choose_for_use(trained=trained, here=server())
    assert (chosen.precision, chosen.native, chosen.channels_last) == (precision, native, channels_last)
    asked = choose_for_use(RuntimeOptions(precision="bf16", native=True), trained=trained, here=server())
    assert (asked.precision, asked.native) == ("bf16", "avx512"), "what is asked for wins"


def test_a_busy_machine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (4.0, 0.0, 0.0))
    assert busy(1) is None
    assert busy(2) == (
        "this machine is busy (load 4.0 on 2 cores): 2 threads wait for each other and may be many times slower than "
        "one; --threads 1 is steadier"
    )
    monkeypatch.setattr(os, "getloadavg", lambda: (0.3, 4.0, 4.0))
    assert busy(2) is None


def test_products_are_those_of_the_paper() -> None:
    """LeNet-5 by hand: C1 6 x 25 x 28 x 28, C3 60 kernels of 25 at 10 x 10, C5 120 x 16 x 25, F6 84 x 120."""
    model = build("lenet5", classes=10, channels=1, size=(32, 32)).train()
    assert products(model, (1, 32, 32)) == 6 * 25 * 28**2 + 60 * 25 * 10**2 + 120 * 400 + 84 * 120
    assert all(module.training for module in model.modules())


def test_products_of_other_modules() -> None:
    net = nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 3, 2, stride=2)).double()
    net[1].eval()
    assert products(net, (2, 5, 6)) == 4 * 1 * 9 * (3 * 4) + 4 * 3 * 4 * (3 * 4)
    assert [module.training for module in net] == [True, False, True]
    assert products(nn.ReLU(), (2, 5, 6)) == 0


def test_as_json_and_back() -> None:
    runtime = Runtime("bf16", True, 2, "avx2", "onednn", True, 64, {"threads": "why"})
    assert Runtime.from_json(runtime.to_json()) == runtime
    assert "reasons" not in runtime.to_json()
    with pytest.raises(InputError, match="not a description this version understands"):
        Runtime.from_json({"speed": "ludicrous"})
    with pytest.raises(InputError, match="precision must be one of exact, high, bf16, got 'half'"):
        Runtime(precision="half")  # type: ignore[arg-type]
    for wrong in (0, True, "2"):
        with pytest.raises(InputError, match="threads must be 1 or more"):
            Runtime(threads=wrong)  # type: ignore[arg-type]
