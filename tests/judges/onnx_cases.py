"""The cases of ONNX's own test suite that concern the chapter's operators, and why some of them are not run."""

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnx.backend.test.case.node as node_cases
from onnx.backend.test.loader import DATA_DIR, load_model_tests
from onnx_adaptor import ADAPTORS, Array

# operators that ONNX has near ours, with the reason why their cases are none of ours
EXCUSED_OPERATORS = {
    "BatchNormalization": "statistics of a batch: PyTorch's module is used as it is",
    "CausalConvWithState": "a graph around Conv: its expanded cases, the same graph written out, are run in its place",
    "Dropout": "random, so the cases fix no outcome: PyTorch's module is used as it is",
    "GlobalLpPool": "Striate has no pooling by p-norms",
    "LpPool": "Striate has no pooling by p-norms",
    "MaxRoiPool": "pools boxes that an input names, not windows",
    "QLinearConv": "rounds to 8 bits with scales: Striate has no quantised arithmetic",
    "RoiAlign": "pools boxes that an input names, not windows",
}

# cases that one implementation does not run, with the reason
EXCUSED_CASES = {
    (
        "pytorch-converted/test_MaxPool1d_stride_padding_dilation",
        "reference",
    ): "the definition's pattern would take 894 GiB",
    (
        "pytorch-operator/test_operator_conv",
        "reference",
    ): "the definition is not done after 100 s: 20 images of 16 channels",
} | {
    (f"node/test_averagepool_3d_dilations_large_count_include_pad_is_{count}_ceil_mode_is_{ceil}", "reference"): (
        "the definition takes 3 to 6 s; the small case is run"
    )
    for count in (0, 1)
    for ceil in (False, True)
}

# cases whose outputs are written down with few digits
ROUNDED = {"node/test_averagepool_2d_ceil_last_window_starts_on_pad": 4}

# sets of ONNX's suite that are not looked at, with the reason
EXCUSED_SETS = {
    "real": "whole networks whose weights would have to be downloaded",
    "light": "whole networks without their weights, the graphs of the set before",
}

MODEL_SETS = ("pytorch-converted", "pytorch-operator", "simple")


def rounding(name: str, expected: Array) -> float:
    """Return the relative error that a case allows: single precision, half precision or the digits written."""
    digits = ROUNDED.get(name)
    return 5 * 10.0**-digits if digits else 2e-3 if expected.dtype == np.float16 else 1e-5


class OnnxCase(NamedTuple):
    """A model of ONNX's suite, its inputs and the outputs that it must give."""

    name: str
    model: onnx.ModelProto
    inputs: list[Array]
    outputs: list[Array]

    @property
    def operators(self) -> set[str]:
        return {node.op_type for node in self.model.graph.node}

    @property
    def ours(self) -> str:
        """The operator of ours that the case is about."""
        return next(node.op_type for node in self.model.graph.node if node.op_type in ADAPTORS)

    def excuse(self, impl: str) -> str | None:
        """Why the implementation does not run the case, or None."""
        reasons = [EXCUSED_OPERATORS[each] for each in sorted(self.operators & set(EXCUSED_OPERATORS))]
        return EXCUSED_CASES.get((self.name, impl), reasons[0] if reasons else None)


def relevant_cases() -> list[OnnxCase]:
    """Return every case in whose graph one of our operators or of the excused ones stands, sorted by name."""
    known = set(ADAPTORS) | set(EXCUSED_OPERATORS)
    cases = [case for each in (_node_cases(known), _model_cases()) for case in each if case.operators & known]
    return sorted(cases, key=lambda case: case.name)


def _node_cases(known: set[str]) -> Iterator[OnnxCase]:
    """Import the modules of ONNX's node cases that name a known operator: all of them would take long."""
    for module in pkgutil.iter_modules(node_cases.__path__):
        source = Path(node_cases.__path__[0]) / f"{module.name}.py"
        if source.is_file() and any(f'"{operator}"' in source.read_text() for operator in known):
            importlib.import_module(f"{node_cases.__name__}.{module.name}")
    for case in node_cases._NodeTestCases:
        for inputs, outputs in case.data_sets:
            yield OnnxCase(f"node/{case.name}", case.model, list(inputs), list(outputs))


def _model_cases() -> Iterator[OnnxCase]:
    for kind in MODEL_SETS:
        for case in load_model_tests(kind=kind):
            model = onnx.load(Path(case.model_dir) / "model.onnx")
            for data in sorted(Path(case.model_dir).glob("test_data_set_*")):
                yield OnnxCase(f"{kind}/{case.name}", model, _arrays(data, "input"), _arrays(data, "output"))


def _arrays(data: Path, which: str) -> list[Array]:
    """Read input_0.pb, input_1.pb, ... of a data set; sequences are none of our operators' and stay empty."""
    arrays = []
    for number in range(len(list(data.glob(f"{which}_*.pb")))):
        proto = onnx.TensorProto()
        try:
            proto.ParseFromString((data / f"{which}_{number}.pb").read_bytes())
            arrays.append(onnx.numpy_helper.to_array(proto))
        except Exception:
            arrays.append(np.empty(0))
    return arrays


def sets_of_the_suite() -> set[str]:
    """Return the names of the sets of models that the installed ONNX brings along."""
    return {entry.name for entry in Path(DATA_DIR).iterdir() if entry.is_dir() and entry.name != "__pycache__"}
