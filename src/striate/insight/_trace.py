"""What a network does to one input, written down operation by operation: the data that the other views are made of.

`trace` runs the network once, on tensors without numbers where that works (PyTorch's fake tensors), and returns a
`Trace`: plain data, no tensors. Its `operations` are those that reach PyTorch's dispatcher ("aten.convolution",
"aten.relu_", ...), functional ones between modules included, and Striate's own operators ("striate.conv", ...), each
as one with its normal form. `values` are the tensors that operations read and write, by number; `calls` the calls of
modules. Operations and calls carry an `order`, in which they began.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from striate.ops._dispatch import watched

# modules that compute with the parameters of modules inside them instead of calling them
_WHOLE = (nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase)
# of their operand these read the shape alone
_SHAPE_ONLY = frozenset(
    f"aten::{name}"
    for name in ("zeros_like", "ones_like", "empty_like", "full_like", "new_zeros", "new_ones", "new_empty", "new_full")
)
_ONE_TYPE = frozenset(f"aten::{name}" for name in ("addmm", "mm", "bmm", "baddbmm", "mv", "convolution"))


class Ref(NamedTuple):
    """A tensor among the arguments of an operation: the number of its value."""

    value: int


@dataclass(frozen=True)
class Value:
    """A tensor: its shape and type, the bytes of its elements, and which memory it is in.

    Views and results of in-place operations share `memory`. `constants` are the names of the parameters and buffers
    that it consists of, if it does not depend on the input (`from_input`).
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    bytes: int
    memory: int
    from_input: bool
    constants: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Operation:
    """One operation: `arguments` by the names of its schema (or `form` for one of Striate's), tensors as `Ref`.

    `path` is the module that ran it, "" for the network, `call` the number of that call; `inputs` and `outputs` are
    numbers of values; `constants` the parameters and buffers that it reads, directly or through views of them.
    """

    order: int
    name: str
    path: str
    call: int
    arguments: dict[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    constants: frozenset[str]
    pointwise: bool = False
    form: Any = None


@dataclass
class Call:
    """One call of a module; `outputs` are numbers of values and empty if the call failed. `parent` is a call or -1.

    `leaf`: nothing inside it is of interest by itself. `input_shapes` and `input_dtypes` are those of the tensors among
    the arguments.
    """

    order: int
    path: str
    kind: str
    leaf: bool
    parent: int
    input_shapes: tuple[tuple[int, ...], ...]
    input_dtypes: tuple[torch.dtype, ...]
    outputs: tuple[int, ...] = ()


@dataclass
class Trace:
    """What happened; `error` is what stopped it and `failed` the innermost call that it stopped, or -1."""

    values: list[Value] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    error: Exception | None = None
    failed: int = -1
    real: bool = False  # whether it took tensors with numbers

    def owner(self, call: int) -> int:
        """Return the outermost leaf that contains a call, or -1."""
        found = -1
        while call >= 0:
            found = call if self.calls[call].leaf else found
            call = self.calls[call].parent
        return found


def trace(module: nn.Module, inputs: Sequence[Tensor], hopeless: Callable[[Trace], bool] = lambda _: False) -> Trace:
    """Run the module once in evaluation mode and return what it did; the module comes back as it was.

    It runs on fake tensors; if that stops with an error that is not `hopeless`, for instance as what it does depends
    on numbers, it runs on real ones. Parameters on the meta device rule the latter out.
    """
    tensors = [*module.parameters(), *module.buffers()]
    with _unchanged(module), torch.inference_mode(False), torch.no_grad():
        module.eval()
        with FakeTensorMode(allow_non_fake_inputs=True) as fake:
            seen = _record(module, [fake.from_tensor(x.detach()) for x in inputs])
        if seen.error is None or hopeless(seen) or any(t.is_meta for t in [*tensors, *inputs]):
            return seen
        again = _record(module, list(inputs))
        again.real = True
        return again


def _record(module: nn.Module, inputs: list[Tensor]) -> Trace:
    recorder = _Recorder(module, inputs)
    with contextlib.ExitStack() as hooks:
        for part in module.modules():
            hooks.callback(part.register_forward_pre_hook(recorder.enter, with_kwargs=True, prepend=True).remove)
            hooks.callback(part.register_forward_hook(recorder.leave).remove)
        try:
            with recorder, watched(recorder.watch):
                module(*inputs)
        except Exception as error:  # any: it is told to the user
            recorder.trace.error, recorder.trace.failed = error, recorder.stack[-1]
            error.__traceback__ = None  # it would keep the tensors
        else:
            recorder.trace.outputs = recorder.trace.calls[0].outputs
    return recorder.trace


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down what passes PyTorch's dispatcher, and which module is at work."""

    def __init__(self, module: nn.Module, inputs: list[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.trace = Trace()
        self.paths: dict[int, str] = {}
        for path, part in module.named_modules():
            self.paths[id(part)] = path
        self.stack = [-1]  # calls that are running
        self.order = 0
        self.silent = 0  # inside one of Striate's operators
        self.numbers: dict[int, int] = {}  # id of a tensor -> its value
        self.memories: dict[int, int] = {}  # id of a storage -> its number
        self.sharing: dict[int, list[Tensor]] = {}  # memory -> the tensors in it
        self.kept: list[Any] = []  # so that no id is given twice
        self.names = {id(p): name for name, p in [*module.named_parameters(), *module.named_buffers()]}
        self.trace.inputs = tuple(self._number(x, from_input=True) for x in inputs)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if not self.silent and any(isinstance(x, Tensor) and x.is_inference() for x in args):
            with self:  # made in inference mode, they have not been taken apart into what is counted
                parts = func.decompose(*args, **(kwargs or {}))
            if parts is not NotImplemented:
                return parts
        schema = func._schema
        _require_one_type(schema.name, args)
        before = [self._input(x) for x in tree_leaves((args, kwargs))] if not self.silent else []
        result = _fake_batch_norm(func, args) or func(*args, **(kwargs or {}))
        if self.silent or schema.name.startswith("prim"):
            return result
        arguments = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
        arguments |= dict(zip((a.name for a in schema.arguments), args, strict=False)) | (kwargs or {})
        self._operation(
            schema.name.replace("::", "."),
            {name: tree_map(self._reference, value) for name, value in arguments.items()},
            [] if schema.name in _SHAPE_ONLY else [number for number in before if number is not None],
            [x for x in tree_leaves(result) if isinstance(x, Tensor)],
            pointwise=torch.Tag.pointwise in func.tags,
            written=[a for a, s in zip(args, schema.arguments, strict=False) if s.alias_info and s.alias_info.is_write],
        )
        return result

    def watch(self, operator: str, form: Any, operands: tuple[Any, ...], forward: Callable[..., Any]) -> Any:
        """Write down one of Striate's operators as one operation."""
        references = [self._reference(x) for x in operands]
        inputs = [x.value for x in references if isinstance(x, Ref)]
        self.silent += 1
        try:
            result = forward(form, *operands)
        finally:
            self.silent -= 1
        outputs = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        self._operation(f"striate.{operator}", {"operands": references}, inputs, outputs, form=form)
        return result

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note that a module begins."""
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        self.trace.calls.append(
            Call(
                order=self._next(),
                path=self.paths[id(module)],
                kind=type(module).__name__,
                leaf=isinstance(module, _WHOLE) or all(name == "parametrizations" for name in module._modules),
                parent=self.stack[-1],
                input_shapes=tuple(tuple(x.shape) for x in tensors),
                input_dtypes=tuple(x.dtype for x in tensors),
            )
        )
        self.stack.append(len(self.trace.calls) - 1)

    def leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Note that a module is done."""
        call = self.trace.calls[self.stack.pop()]
        call.outputs = tuple(self._number(x) for x in _tensors(output))

    def _operation(
        self,
        name: str,
        arguments: dict[str, Any],
        inputs: list[int],
        outputs: list[Tensor],
        *,
        pointwise: bool = False,
        form: Any = None,
        written: Sequence[Any] = (),
    ) -> None:
        read = [self.trace.values[number] for number in inputs]
        constants = frozenset().union(*(value.constants for value in read if not value.from_input))
        from_input = any(value.from_input for value in read)
        for x in [*written, *outputs]:  # what is written to is another value from here on
            if any(x is y for y in written):
                self.numbers.pop(id(x), None)
        numbers = tuple(self._number(x, from_input=from_input, constants=constants) for x in outputs)
        call = self.stack[-1]
        path = self.trace.calls[call].path if call >= 0 else ""
        self.trace.operations.append(
            Operation(self._next(), name, path, call, arguments, tuple(inputs), numbers, constants, pointwise, form)
        )
        for x in written:
            self._spread(x)

    def _spread(self, written: Any) -> None:
        """After a write into memory, let the other tensors in that memory depend on it."""
        if not isinstance(written, Tensor):
            return
        new = self._number(written)
        for other in self.sharing.get(self.trace.values[new].memory, ()):
            if other is not written:
                old = self.numbers.pop(id(other))
                self._operation("striate.written", {"old": Ref(old), "new": Ref(new)}, [old, new], [other])

    def _number(self, x: Tensor, *, from_input: bool = False, constants: frozenset[str] = frozenset()) -> int:
        if id(x) not in self.numbers:
            memory = self._memory(x)
            if id(x) in self.names:
                constants = frozenset({self.names[id(x)]})
            own = frozenset() if from_input else constants
            size = x.numel() * x.element_size()
            self.trace.values.append(Value(tuple(x.shape), x.dtype, size, memory, from_input, own))
            self.numbers[id(x)] = len(self.trace.values) - 1
            if not any(x is y for y in self.sharing.setdefault(memory, [])):
                self.sharing[memory].append(x)
            self.kept.append(x)
        return self.numbers[id(x)]

    def _memory(self, x: Tensor) -> int:
        try:
            storage = x.untyped_storage()
            address = storage._cdata
        except (NotImplementedError, RuntimeError):  # sparse tensors and the like
            return -1 - len(self.trace.values)
        return self.memories.setdefault(address, len(self.memories))

    def _input(self, x: Any) -> int | None:
        return self._number(x) if isinstance(x, Tensor) else None

    def _reference(self, x: Any) -> Any:
        return Ref(self._number(x)) if isinstance(x, Tensor) else x

    def _next(self) -> int:
        self.order += 1
        return self.order


def _require_one_type(name: str, args: tuple[Any, ...]) -> None:
    """Raise what PyTorch raises for operands of different types, which fake tensors do not notice."""
    if name in _ONE_TYPE:
        types = {str(x.dtype).removeprefix("torch.") for x in args if isinstance(x, Tensor)}
        if len(types) > 1:
            raise RuntimeError(f"the operands must have one type, got {' and '.join(sorted(types))}")


def _fake_batch_norm(func: Any, args: tuple[Any, ...]) -> Any:
    """What batch normalisation in evaluation makes of a fake tensor; PyTorch takes much longer to find the shape."""
    if func is not torch.ops.aten.native_batch_norm.default or not isinstance(args[0], FakeTensor) or args[5]:
        return None
    return torch.empty_like(args[0]), args[0].new_empty(0), args[0].new_empty(0)


def _tensors(output: Any) -> list[Tensor]:
    """The tensors in what a module returns: in sequences, mappings and objects with fields."""
    if hasattr(output, "__dataclass_fields__"):
        output = [getattr(output, name) for name in output.__dataclass_fields__]
    return [x for x in tree_leaves(output) if isinstance(x, Tensor)]


@contextlib.contextmanager
def _unchanged(module: nn.Module) -> Iterator[None]:
    """Put back, at the end, whatever running the module changes: modes, attributes, buffers, random numbers."""
    parts = list(module.modules())
    groups = ("_parameters", "_buffers", "_modules")
    attributes = [(part, dict(part.__dict__), [dict(getattr(part, group)) for group in groups]) for part in parts]
    # only real tensors can have been changed, and only where fake ones would not do: the copies are small
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    fast = torch.backends.mha.get_fastpath_enabled()
    generator = torch.get_rng_state()
    torch.backends.mha.set_fastpath_enabled(False)  # it hides attention behind one operation
    reports = logging.getLogger("torch._subclasses.fake_tensor")  # of errors, with tracebacks
    silent, reports.disabled = reports.disabled, True
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        reports.disabled = silent
        torch.set_rng_state(generator)
        for part, saved, members in attributes:
            part.__dict__.clear()
            part.__dict__.update(saved)
            for group, content in zip(groups, members, strict=True):
                getattr(part, group).clear()
                getattr(part, group).update(content)
        with torch.no_grad():
            for buffer, copy in buffers:
                if not buffer.is_meta and not torch.equal(buffer, copy):
                    buffer.copy_(copy)
