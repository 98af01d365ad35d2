"""A network layer by layer: what each gives out, what it costs, what part of the input it sees."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from striate.errors import InputError, did_you_mean
from striate.insight._failure import explain
from striate.insight._fields import supports
from striate.insight._rows import Row, Rows, Size
from striate.insight._support import Support
from striate.insight._trace import Trace, trace


class ReceptiveField(NamedTuple):
    """What units see of the input on each axis: how many positions, and how far apart neighbouring units look.

    `stride` is () where the output has no such axis any more. Not `exact`: a bound.
    """

    size: Size
    stride: tuple[Fraction, ...]
    exact: bool


@dataclass(frozen=True)
class Totals:
    """Sums over rows."""

    neurons: int
    parameters: int
    connections: int
    macs: int
    flops: int
    activation_bytes: int
    weight_bytes: int
    trainable: int


@dataclass(frozen=True)
class Summary:
    """The rows of a network in the order of their execution; `failure` says in a sentence what stopped it, if so."""

    input_size: Size
    rows: tuple[Row, ...]
    failure: str | None = None
    sizes: dict[str, Size] = field(default_factory=dict, repr=False)  # of every module's output
    fields: dict[str, ReceptiveField] = field(default_factory=dict, repr=False)  # likewise
    aliases: dict[str, str] = field(default_factory=dict, repr=False)  # other paths of modules -> the rows' path

    def output_size(self, path: str = "") -> Size:
        """Return the output size of any module, containers too, without the batch; "" is the network.

        A module that is called several times gives its first. Raises InputError if there is no such module or it was
        not called.
        """
        return self.sizes[self._called(path)]

    def receptive_field(self, path: str = "") -> ReceptiveField:
        """Return the receptive field of any module's output; "" is the network. Raises InputError as output_size."""
        return self.fields[self._called(path)]

    def totals(self, path: str = "", without: Sequence[str] = ()) -> Totals:
        """Return the sums over the rows of a module, leaving out the modules under the paths `without`.

        Parameters that several layers share count once. Raises InputError if a path is no module's.
        """
        known = {"", *self.sizes, *self.aliases, *(_prefixes([row.name for row in self.rows]))}
        for wanted in (path, *without):
            if wanted not in known:
                raise InputError(f"there is no module {wanted!r}{did_you_mean(wanted, known - {''})}")
        inside, outside = self.aliases.get(path, path), [self.aliases.get(other, other) for other in without]
        rows = [r for r in self.rows if _under(r.name, inside) and not any(_under(r.name, other) for other in outside)]
        return Totals(**{name: sum(getattr(row, name) for row in rows) for name in Totals.__dataclass_fields__})

    def as_text(self, *, width: int = 100, wide: bool = False) -> str:
        """Return the table for a terminal of so many columns; `wide` adds neurons, connections, weights and notes."""
        from striate.insight._text import table

        return table(self, width=width, wide=wide)

    def to_json(self) -> dict[str, Any]:
        """Return the summary as JSON values; effective strides are strings such as "2" or "1/2"."""
        rows = [
            asdict(row) | {"effective_stride": [str(stride) for stride in row.effective_stride]} for row in self.rows
        ]
        totals = asdict(self.totals())
        return {"input_size": list(self.input_size), "rows": rows, "totals": totals, "failure": self.failure}

    def _called(self, path: str) -> str:
        path = self.aliases.get(path, path)
        if path not in self.sizes:
            raise InputError(f"no module {path!r} was called{did_you_mean(path, self.sizes)}")
        return path


def summarize(
    module: nn.Module,
    input_size: Sequence[int] | None = None,
    *,
    inputs: Tensor | Sequence[Tensor] | None = None,
    batch: int = 1,
) -> Summary:
    """Run a network once without numbers and return what every layer gives out, costs and sees.

    module: any PyTorch module. input_size: (C, H, W), or of any rank, without the batch; that of the module's own
    `input_size` unless given. inputs: example tensors instead, batch included, for modules with several inputs or of
    integers; counts are then those of the whole batch. batch: how many inputs `activation_bytes` are for.

    The network runs in evaluation mode, on fake tensors if it can, and comes back unchanged. If its forward pass fails,
    the rows up to there are returned and `failure` says why. How things are counted stands in docs/inspect.md. Raises
    InputError for a size or batch that is none.
    """
    examples, size = _examples(module, input_size, inputs, batch)
    record = trace(module, examples, hopeless=lambda seen: explain(module, seen)[1])
    known = supports(record)
    return Summary(
        input_size=size,
        rows=tuple(Rows(module, record, known, batch).build()),
        failure=None if record.error is None else explain(module, record)[0],
        sizes={path: record.values[number].shape[1:] for path, number in _outputs(record).items()},
        fields={path: _field(known.get(number)) for path, number in _outputs(record).items()},
        aliases=_aliases(module),
    )


def receptive_field(module: nn.Module, input_size: Sequence[int] | None = None, layer: str = "") -> ReceptiveField:
    """Return what the units of a layer, or of the whole network, see of the input.

    Arguments as for `summarize`. Raises InputError for an unknown layer or one that was not reached.
    """
    summary = summarize(module, input_size)
    if summary.failure is not None and layer not in summary.fields:
        raise InputError(summary.failure)
    return summary.receptive_field(layer)


def _examples(
    module: nn.Module, input_size: Sequence[int] | None, inputs: Tensor | Sequence[Tensor] | None, batch: int
) -> tuple[list[Tensor], Size]:
    """Return the tensors to run on and the size of the first without its batch."""
    if isinstance(module, torch.jit.ScriptModule):
        raise InputError("summarize: a scripted module cannot be looked into; give the module from which it was made")
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise InputError(f"summarize: batch must be an integer of 1 or more, got {batch!r}")
    if inputs is not None:
        tensors = [inputs] if isinstance(inputs, Tensor) else list(inputs)
        if not tensors or not all(isinstance(x, Tensor) for x in tensors):
            raise InputError("summarize: inputs must be a tensor or a list of tensors, batch included")
        return tensors, tuple(tensors[0].shape[1:])
    size = getattr(module, "input_size", None) if input_size is None else input_size
    if size is None:
        raise InputError("summarize: give input_size, such as (3, 224, 224); the module does not say what it takes")
    try:
        whole = tuple(int(n) for n in size if not isinstance(n, bool) and int(n) == n and n > 0)
    except (TypeError, ValueError):
        whole = ()
    if not whole or len(whole) != len(size):
        raise InputError(f"summarize: input_size must be integers of 1 or more, such as (3, 224, 224), got {size!r}")
    floats = [t for t in [*module.parameters(), *module.buffers()] if t.is_floating_point()]
    like = floats[0] if floats else torch.empty(0)
    return [torch.zeros((1, *whole), dtype=like.dtype, device=like.device)], whole


def _outputs(record: Trace) -> dict[str, int]:
    """The value that each module's first call gave."""
    outputs: dict[str, int] = {}
    for call in record.calls:
        if call.outputs:
            outputs.setdefault(call.path, call.outputs[0])
    return outputs


def _field(support: Support | None) -> ReceptiveField:
    if support is None:
        return ReceptiveField((), (), exact=True)
    exact = all(field.exact for field in support.fields)
    return ReceptiveField(tuple(field.size for field in support.fields), support.stride(), exact)


def _aliases(module: nn.Module) -> dict[str, str]:
    """Other paths of modules that are at several, and the path that rows have."""
    first: dict[int, str] = {id(part): path for path, part in module.named_modules()}
    every = module.named_modules(remove_duplicate=False)
    return {path: first[id(part)] for path, part in every if first[id(part)] != path}


def _under(name: str, path: str) -> bool:
    return not path or name == path or name.startswith(f"{path}.")


def _prefixes(names: Sequence[str]) -> set[str]:
    parts = [name.split(".") for name in names]
    return {".".join(part[: i + 1]) for part in parts for i in range(len(part))}
