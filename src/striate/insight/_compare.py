"""What is different between two networks, in words: aligned by their structure, whatever their layers are called."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from striate.errors import InputError
from striate.insight._align import Aligner
from striate.insight._cost import cost
from striate.insight._differences import Difference, differences
from striate.insight._failure import explain
from striate.insight._layer_graph import layer_graph
from striate.insight._layer_tree import Series, layer_tree
from striate.insight._trace import trace

Size = tuple[int, ...]


@dataclass(frozen=True)
class Comparison:
    """The differences of the network `there` from the network `here`, and the totals of both as (here, there).

    `parameters` are those of the forward pass, `unused` those that it does not read, such as auxiliary classifiers'.
    """

    input_sizes: tuple[Size, Size]
    differences: tuple[Difference, ...]
    parameters: tuple[int, int]
    macs: tuple[int, int]
    unused: tuple[int, int]

    @property
    def same(self) -> bool:
        """Whether the two are one architecture."""
        return not self.differences and self.input_sizes[0][:1] == self.input_sizes[1][:1]

    @property
    def sentences(self) -> list[str]:
        """The differences in words; one that says so if there is none."""
        return [difference.sentence for difference in self.differences] or ["no architectural difference"]

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as JSON values."""
        return {
            "same": self.same,
            "input_sizes": [list(size) for size in self.input_sizes],
            "differences": [asdict(difference) for difference in self.differences],
            "parameters": list(self.parameters),
            "macs": list(self.macs),
            "unused_parameters": list(self.unused),
        }

    def as_text(self, here: str = "here", there: str = "there") -> str:
        """Return the comparison for people, the networks by their names."""
        lines = [f"{here} -> {there}", *(f"  {sentence}" for sentence in self.sentences)]
        if self.input_sizes[0] != self.input_sizes[1]:
            lines.append("  input: " + " -> ".join(" x ".join(map(str, size)) for size in self.input_sizes))
        totals = (
            ("parameters", self.parameters),
            ("MACs", self.macs),
            ("parameters outside the forward pass", self.unused),
        )
        for name, (one, other) in totals:
            if one or other:
                lines.append(f"  {name}: {one:,}" + (f" -> {other:,}" if one != other else " in both"))
        return "\n".join(lines)


class _Seen(NamedTuple):
    input_size: Size
    series: Series
    parameters: int
    macs: int
    unused: int


def compare(here: nn.Module, there: nn.Module, input_size: Sequence[int] | None = None) -> Comparison:
    """Say in words how the architecture of one network differs from that of another.

    input_size: (C, H, W) for both; by default what each names as its `input_size`, or the other's. The networks run
    once without numbers, in evaluation mode. They are aligned by what their layers do and in which order, names do not
    matter; sentences name the layers of `here`. Weights, initialisation and what only training runs are not compared.
    Raises InputError for a network that cannot take the input.
    """
    own = [getattr(module, "input_size", None) for module in (here, there)]
    sizes = [input_size or own[0] or own[1], input_size or own[1] or own[0]]
    one, other = (_seen(which, m, s) for which, m, s in zip(("first", "second"), (here, there), sizes, strict=True))
    return Comparison(
        input_sizes=(one.input_size, other.input_size),
        differences=tuple(differences(Aligner().align(one.series, other.series))),
        parameters=(one.parameters, other.parameters),
        macs=(one.macs, other.macs),
        unused=(one.unused, other.unused),
    )


def _seen(which: str, module: nn.Module, input_size: Any) -> _Seen:
    """Run one network and return its layers and totals."""
    if input_size is None:
        raise InputError("compare: give input_size, such as (3, 224, 224); the networks do not say what they take")
    if not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in input_size):
        raise InputError(f"compare: input_size must be integers of 1 or more, got {input_size!r}")
    tensors = dict(module.named_parameters())
    like = next((t for t in tensors.values() if t.is_floating_point()), torch.empty(0))
    example = torch.zeros((1, *input_size), dtype=like.dtype, device=like.device)
    record = trace(module, [example], hopeless=lambda seen: explain(module, seen)[1])
    if record.error is not None:
        raise InputError(f"compare: the {which} network stops at {explain(module, record)[0]}")
    used = frozenset[str]().union(*(operation.constants for operation in record.operations))
    parameters = sum(tensor.numel() for name, tensor in tensors.items() if name in used)
    return _Seen(
        input_size=tuple(input_size),
        series=layer_tree(layer_graph(record, module)),
        parameters=parameters,
        macs=sum(cost(operation, record.values).macs for operation in record.operations),
        unused=sum(tensor.numel() for tensor in tensors.values()) - parameters,
    )
