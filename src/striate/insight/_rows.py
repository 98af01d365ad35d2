"""Rows: the operations of a trace by the layers that ran them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial

from torch import nn

from striate.insight._cost import Cost, cost
from striate.insight._support import Support
from striate.insight._trace import Operation, Trace

Size = tuple[int, ...]

# operations between modules that have no row of their own
_PLUMBING = """
    view _unsafe_view reshape _reshape_alias permute transpose t unsqueeze squeeze expand slice select narrow split
    split_with_sizes unsafe_split unsafe_split_with_sizes chunk unbind alias detach clone contiguous _to_copy copy
    lift_fresh zeros_like ones_like empty_like full_like new_zeros new_ones new_empty new_full as_strided lift
"""
_UNSHOWN = frozenset({"striate.written", *(f"aten.{name}" for name in _PLUMBING.split())})
_NAMES = {"convolution": "conv", "constant_pad_nd": "pad", "mm": "matmul", "bmm": "matmul", "addmm": "linear"}


@dataclass(frozen=True)
class Row:
    """One call of a layer, or one operation that a module does by itself ("add()", "cat()").

    name: the module's path, with the operation behind it. kind: the module's class. output_size: without the batch.
    parameters: numbers in parameters that no row above has, `trainable` those with a gradient; weight_bytes: the memory
    of these and of buffers. activation_bytes: of the outputs, 0 where the layer works in place or gives out a view.
    receptive_field and effective_stride: in inputs per axis; `exact` tells whether that is the field or a bound on it.
    counted: whether macs and flops are all that the layer does, or a lower bound. note: what else there is to say.
    """

    name: str
    kind: str
    output_size: Size
    neurons: int
    parameters: int
    connections: int
    macs: int
    flops: int
    activation_bytes: int
    weight_bytes: int
    receptive_field: Size
    effective_stride: tuple[Fraction, ...]
    exact: bool
    note: str = ""
    trainable: int = 0
    counted: bool = True


class Rows:
    """Gathers the operations of a trace into rows, and gives each parameter to the first row that uses it."""

    def __init__(self, module: nn.Module, record: Trace, supports: dict[int, Support], batch: int) -> None:
        self.module, self.record, self.batch = module, record, batch
        self.weights = dict(module.named_parameters())
        self.buffers = dict(module.named_buffers())
        first = {id(tensor): name for name, tensor in [*self.weights.items(), *self.buffers.items()]}
        every = [
            *module.named_parameters(remove_duplicate=False),
            *module.named_buffers(remove_duplicate=False),
        ]
        self.first_names = {name: first[id(tensor)] for name, tensor in every}  # shared ones have several names
        self.taken: dict[str, str] = {}  # parameter or buffer -> the row that has it
        self.memories = {record.values[number].memory for number in record.inputs}
        self.of_owner: dict[int, list[Operation]] = {}
        self.supports = supports

    def build(self) -> list[Row]:
        """Return the rows in the order in which layers and operations began."""
        record = self.record
        begun: list[tuple[int, Callable[[], Row]]] = []
        for operation in record.operations:
            owner = record.owner(operation.call)
            self.of_owner.setdefault(owner, []).append(operation)
        for number, call in enumerate(record.calls):
            if call.leaf and record.owner(number) == number and (call.outputs or record.error is None):
                begun.append((call.order, partial(self._layer, number)))
        for operation in self.of_owner.get(-1, []):
            if not _is_plumbing(operation, record):
                begun.append((operation.order, partial(self._function, operation)))
        rows = [make() for _, make in sorted(begun, key=lambda pair: pair[0])]
        return rows + (self._not_called() if record.error is None else [])

    def _layer(self, number: int) -> Row:
        call = self.record.calls[number]
        operations = self.of_owner.get(number, [])
        total = sum((cost(operation, self.record.values) for operation in operations), Cost())
        if call.kind == "LocalResponseNorm":  # PyTorch's pools over channels
            total = Cost(flops=total.flops, counted=total.counted)
        part = self.module.get_submodule(call.path)
        prefix = f"{call.path}." if call.path else ""
        own = [self.first_names[prefix + name] for name, _ in [*part.named_parameters(), *part.named_buffers()]]
        used = frozenset().union(*(operation.constants for operation in operations), own)
        uncounted = sorted(
            {operation.name for operation in operations if not cost(operation, self.record.values).counted}
        )
        return self._row(call.path, call.kind, call.outputs, total, used, uncounted)

    def _function(self, operation: Operation) -> Row:
        kind = _function_name(operation)
        name = f"{operation.path}.{kind}()" if operation.path else f"{kind}()"
        total = cost(operation, self.record.values)
        return self._row(
            name, kind, operation.outputs, total, operation.constants, [] if total.counted else [operation.name]
        )

    def _row(
        self, name: str, kind: str, outputs: Sequence[int], total: Cost, used: frozenset[str], uncounted: list[str]
    ) -> Row:
        values = [self.record.values[number] for number in outputs]
        parameters, trainable, weight_bytes, shared = self._take(name, used)
        notes = [f"shares {', '.join(shared)}"] if shared else []
        notes += [f"not counted: {', '.join(uncounted)}"] if uncounted else []
        activation_bytes = 0
        for value in values:
            if value.memory not in self.memories:
                self.memories.add(value.memory)
                activation_bytes += value.bytes * self.batch
        support = self.supports.get(outputs[0]) if outputs else None
        return Row(
            name=name,
            kind=kind,
            output_size=values[0].shape[1:] if values else (),
            neurons=total.neurons,
            parameters=parameters,
            connections=total.connections,
            macs=total.macs,
            flops=total.flops,
            activation_bytes=activation_bytes,
            weight_bytes=weight_bytes,
            receptive_field=tuple(field.size for field in support.fields) if support else (),
            effective_stride=support.stride() if support else (),
            exact=all(field.exact for field in support.fields) if support else True,
            note="; ".join(notes),
            trainable=trainable,
            counted=total.counted,
        )

    def _take(self, row: str, used: frozenset[str]) -> tuple[int, int, int, list[str]]:
        """Give a row what no other has: its parameters, trainable ones, bytes, and the names of rows it shares with."""
        parameters = trainable = weight_bytes = 0
        shared = set()
        for name in sorted(used):
            if name in self.taken:
                if self.taken[name] != row and name in self.weights:
                    shared.add(f"{name} with {self.taken[name]}" if self.taken[name] else name)
                continue
            self.taken[name] = row
            tensor = self.weights.get(name, self.buffers.get(name))
            if tensor is None:
                continue
            weight_bytes += tensor.numel() * tensor.element_size()
            if name in self.weights:
                parameters += tensor.numel()
                trainable += tensor.numel() if tensor.requires_grad else 0
        return parameters, trainable, weight_bytes, sorted(shared)

    def _not_called(self) -> list[Row]:
        """Rows for parameters that the forward pass did not reach, such as those of auxiliary classifiers."""
        left: dict[str, set[str]] = {}
        for name in [*self.weights, *self.buffers]:
            if name not in self.taken:
                left.setdefault(name.rpartition(".")[0], set()).add(name)
        rows = []
        for path, names in left.items():
            row = self._row(path, type(self.module.get_submodule(path)).__name__, (), Cost(), frozenset(names), [])
            rows.append(replace(row, note="not called", exact=True))
        return rows


def _is_plumbing(operation: Operation, record: Trace) -> bool:
    """Whether an operation between modules only moves data about, or does not concern the input."""
    if not operation.outputs or not record.values[operation.outputs[0]].from_input:
        return True
    return operation.name.removesuffix("_") in _UNSHOWN


def _function_name(operation: Operation) -> str:
    name = operation.name.removeprefix("aten.").removeprefix("striate.").strip("_")
    return _NAMES.get(name, name.removesuffix("_with_indices"))
