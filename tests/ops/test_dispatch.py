"""Choosing an implementation: explicit choices are kept or refused, and the choice can be explained."""

import sys
import types

import pytest
import torch

from striate import ops
from striate.errors import InputError
from striate.ops import _dispatch

X, W = torch.ones(1, 1, 4, 4), torch.ones(1, 1, 3, 3)


@pytest.fixture
def calls(monkeypatch, request):
    """Put an implementation "probe" in front that computes only stride 1, and return the forms it was given."""
    seen = []
    path = f"probe_{request.node.name}"  # a loaded module is kept: each test needs its own
    probe = types.ModuleType(path)
    probe.supports = lambda form, *_: None if max(form.window.stride) == 1 else f"stride {form.window.stride}"

    def forward(form, x, _w, _b):
        seen.append(form)
        return x.new_full((1,), 7.0)

    probe.forward = forward
    monkeypatch.setitem(sys.modules, path, probe)
    monkeypatch.setitem(_dispatch.TABLE, "conv", {"probe": path, **_dispatch.TABLE["conv"]})
    return seen


def test_auto_takes_the_first_that_supports_the_case(calls):
    assert ops.conv(X, W).item() == 7
    assert ops.conv(X, W, stride=2).item() == 9  # passed over
    assert len(calls) == 1


def test_an_explicit_choice_never_falls_back(calls):
    with pytest.raises(InputError) as caught:
        ops.conv(X, W, stride=2, impl="probe")
    assert str(caught.value) == "conv: 'probe' does not support stride (2, 2)"
    with ops.use_impl("probe"), pytest.raises(InputError, match="'probe' does not support"):
        ops.conv(X, W, stride=2)
    assert not calls


def test_use_impl_holds_within_its_block_and_the_argument_wins(calls):
    with ops.use_impl("aten"):
        assert ops.conv(X, W).shape == (1, 1, 2, 2)
        with ops.use_impl("auto"):
            assert ops.conv(X, W).item() == 7
        assert ops.conv(X, W, impl="probe").item() == 7
        assert ops.conv(X, W).shape == (1, 1, 2, 2)
    with pytest.raises(ZeroDivisionError), ops.use_impl("aten"):
        raise ZeroDivisionError
    assert ops.conv(X, W).item() == 7
    assert len(calls) == 3


def test_use_impl_reaches_every_operator():
    with ops.use_impl("reference"):
        y = ops.max_pool(X.clone().requires_grad_(), 2)
    assert y.grad_fn.name() == "_NumpyBackward"


def test_unknown_names():
    for call, who in ((lambda: ops.conv(X, W, impl="refrence"), "conv"), (lambda: enter("refrence"), "use_impl")):
        with pytest.raises(InputError) as caught:
            call()
        assert str(caught.value) == f"{who}: unknown implementation 'refrence'; did you mean 'reference'?"
    with pytest.raises(InputError, match="unknown operator 'cnv'; did you mean 'conv'"):
        ops.explain_dispatch("cnv", X, W)


def enter(name):
    with ops.use_impl(name):
        pass


def test_an_operator_without_the_implementation_says_so(calls):
    with ops.use_impl("probe"), pytest.raises(InputError) as caught:
        ops.avg_pool(X, 2)
    assert str(caught.value) == "avg_pool: unknown implementation 'probe'; known: aten, auto, reference"


def test_explain_dispatch(calls):
    after = "not asked: 'aten' comes first"
    assert ops.explain_dispatch("conv", X, W, stride=2) == {
        "probe": "passed over: stride (2, 2)",
        "aten": "taken",
        "native": after,
        "reference": after,
    }
    assert ops.explain_dispatch("conv", X, w=W)["probe"] == "taken"
    assert ops.explain_dispatch("conv", X, W, impl="aten") == {
        "probe": "not asked: 'aten' was asked for",
        "aten": "taken",
        "native": "not asked: 'aten' was asked for",
        "reference": "not asked: 'aten' was asked for",
    }
    with ops.use_impl("reference"):
        assert ops.explain_dispatch("max_pool", X, 2, return_switches=True)["reference"] == "taken"
    assert not calls


def test_explain_dispatch_of_what_pytorch_cannot():
    verdicts = ops.explain_dispatch("avg_pool", torch.ones(1, 1, 2, 2, 2, 2), 2)
    assert verdicts == {"aten": "passed over: 4 spatial axes, only 1 to 3", "reference": "taken"}
    with pytest.raises(InputError, match="conv: 'aten' does not support 4 spatial axes, only 1 to 3"):
        ops.conv(torch.ones(1, 1, 2, 2, 2, 2), torch.ones(1, 1, 2, 2, 2, 2), impl="aten")


def test_words_are_checked_once_and_then_remembered(monkeypatch):
    from striate.ops import _check

    made = []
    original = _check.make_window
    monkeypatch.setattr(_check, "make_window", lambda *a, **k: made.append(a) or original(*a, **k))
    x, w = torch.ones(1, 1, 17, 13), torch.ones(1, 1, 3, 3)
    for _ in range(3):
        ops.conv(x, w)
    assert len(made) == 1
    for _ in range(2):
        assert ops.conv(x, w, stride=[2, 1]).shape == (1, 1, 8, 11)  # a list cannot be remembered


def test_torch_compile_in_one_graph():
    def network(x):
        y = ops.conv(x, torch.ones(3, 3), links=((1, 0), (1, 1)), padding=((0, 1),))
        return ops.max_pool(y, 2)

    x = torch.randn(2, 2, 8)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), network(x))


def test_prefer_asks_first_and_falls_back(calls, monkeypatch):
    """What a preferred implementation does not support, or where it does not pay, is computed as without the block."""
    row = _dispatch.TABLE["conv"]
    monkeypatch.setitem(_dispatch.TABLE, "conv", {"aten": row["aten"], "probe": row["probe"]})
    with ops.prefer(conv="probe"):
        assert ops.conv(X, W).item() == 7
        assert ops.conv(X, W, stride=2).item() == 9
        assert ops.conv(X, W, impl="aten").shape == (1, 1, 2, 2)
        assert ops.max_pool(X, 2).shape == (1, 1, 2, 2)
        with ops.use_impl("aten"):
            assert ops.conv(X, W).shape == (1, 1, 2, 2)
        with ops.prefer(max_pool="reference"):
            assert ops.conv(X, W).item() == 7
        with ops.prefer(conv="auto"):
            assert ops.conv(X, W).shape == (1, 1, 2, 2)
        assert ops.explain_dispatch("conv", X, W) == {"probe": "taken", "aten": "not asked: 'probe' comes first"}
        verdicts = ops.explain_dispatch("conv", X, W, stride=2)
        assert verdicts == {"probe": "passed over: stride (2, 2)", "aten": "taken"}
        sys.modules[row["probe"]].pays = lambda form, *_: "small images"  # type: ignore[attr-defined]
        assert ops.conv(X, W).shape == (1, 1, 2, 2)
        assert ops.explain_dispatch("conv", X, W) == {"probe": "passed over: small images", "aten": "taken"}
        assert ops.conv(X, W, impl="probe").item() == 7, "asked for by name, it need not pay"
    assert ops.conv(X, W).shape == (1, 1, 2, 2)


def test_prefer_is_seen_by_torch_compile(calls, monkeypatch):
    row = _dispatch.TABLE["conv"]
    monkeypatch.setitem(_dispatch.TABLE, "conv", {"aten": row["aten"], "probe": row["probe"]})
    torch.compiler.reset()
    with ops.prefer(conv="probe"):
        compiled = torch.compile(lambda x: ops.conv(x, W), backend="eager", fullgraph=True)
        assert compiled(X).item() == 7


def test_prefer_refuses_unknown_names():
    for words, message in (
        ({"cnv": "native"}, "prefer: unknown operator 'cnv'; did you mean 'conv'?"),
        ({"conv": "nativ"}, "prefer: conv: unknown implementation 'nativ'; did you mean 'native'?"),
    ):
        with pytest.raises(InputError) as caught, ops.prefer(**words):
            pass
        assert str(caught.value) == message
