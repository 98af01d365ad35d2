"""Every operator before every judge: how many cases, and how far off the worst.

    python benchmarks/judges.py --write docs/judged.md

The judges are those of the test suite (tests/judges), which runs them on fewer calls: PyTorch's, SciPy's and NumPy's
own functions, finite differences, and the cases of ONNX's test suite. Exit code 1 if any of them finds an error.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "judges"), str(ROOT / "benchmarks")]

from judge_bench import IMPLEMENTATIONS, NOT_OFFERED, compare, operators, tolerance  # noqa: E402
from judge_record import Comparison, Verdict, relative_error, summarize  # noqa: E402
from onnx_adaptor import ADAPTORS, run_model  # noqa: E402
from onnx_cases import (  # noqa: E402
    EXCUSED_OPERATORS,
    EXCUSED_SETS,
    OnnxCase,
    relevant_cases,
    rounding,
)
from sections import machine, markdown_table, versions, write_section  # noqa: E402

DTYPES = ("float64", "float32", "bfloat16", "float16")


def main() -> None:
    """Run the judges, print or write the table; exit code 1 if one finds an error."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--calls", type=int, default=200, help="random calls of every operator")
    options.add_argument("--quick", action="store_true", help="ten calls only")
    options.add_argument("--json", action="store_true", help="print the verdicts as JSON")
    options.add_argument("--write", type=Path, metavar="PATH", help="write the table into this Markdown file")
    asked = options.parse_args()
    torch.set_num_threads(1)
    calls = range(10 if asked.quick else asked.calls)
    random = summarize(each for operator in operators() for each in compare(operator, calls))
    cases = relevant_cases()
    suite = summarize(each for case in cases for each in onnx_comparisons(case))
    wrong = [v for v in random if not v.worst <= tolerance(v.judge, v.dtype)] + [v for v in suite if not v.worst <= 1]
    if asked.json:
        print(json.dumps([verdict._asdict() for verdict in [*random, *suite]], indent=1))
    elif asked.write:
        write_section(asked.write, "judges", report(random, suite, cases, len(calls)))
    else:
        print(report(random, suite, cases, len(calls)))
    for verdict in wrong:
        print(f"wrong: {verdict}", file=sys.stderr)
    sys.exit(1 if wrong else 0)


def onnx_comparisons(case: OnnxCase) -> Iterator[Comparison]:
    """Yield how far each implementation is off on a case of ONNX's, in units of what the case's digits allow."""
    for impl in IMPLEMENTATIONS:
        if case.excuse(impl):
            continue
        outputs = run_model(case.model, case.inputs, impl)
        pairs = list(zip(outputs, case.outputs, strict=True))
        error = max(relative_error(output, expected) / rounding(case.name, expected) for output, expected in pairs)
        yield Comparison(case.ours, "ONNX", impl, str(case.outputs[0].dtype), error)


def report(random: list[Verdict], suite: list[Verdict], cases: list[OnnxCase], calls: int) -> str:
    """Return the tables and what they mean as Markdown."""
    total = sum(verdict.cases for verdict in random)
    return f"""# Judged from outside

Written by `python benchmarks/judges.py --write docs/judged.md`; the same judges run on fewer calls in the test suite.
{versions("striate", "torch", "scipy", "numpy", "onnx")}.

## Random calls

{calls} seeded random calls of every operator (geometry, channels, groups, paddings with different ends, crops), {total}
comparisons. The error is the largest deviation over the largest value expected; operands are first rounded to the
dtype, and judges compute in float64. Finite differences are those of a random direction, in float64. A judge passes
over calls that it has no function for, so the numbers of cases differ.

{judge_table(random)}

{not_offered()}

## ONNX's own cases

The node cases of `onnx.backend.test` and its models converted from PyTorch, computed by Striate through a thin adaptor
(`tests/judges/onnx_adaptor.py`). The error is in units of what the digits of the expected outputs allow: 1e-5 of the
largest value, 2e-3 for half precision, 5e-4 for outputs written with four digits.

{suite_table(suite)}

{excuses(cases)}
"""


def judge_table(verdicts: list[Verdict]) -> str:
    """Return a row for each operator, judge and implementation, a column for each dtype."""
    rows: dict[tuple[str, str, str], dict[str, Verdict]] = {}
    for verdict in verdicts:
        rows.setdefault((verdict.operator, verdict.judge, verdict.impl), {})[verdict.dtype] = verdict
    dtypes = [dtype for dtype in DTYPES if any(dtype in row for row in rows.values())]
    body = [
        [f"`{key[0]}`", *key[1:], str(max(v.cases for v in row.values()))]
        + [f"{row[dtype].worst:.1e}" if dtype in row else "" for dtype in dtypes]
        for key, row in sorted(rows.items(), key=lambda item: (operators().index(item[0][0]), *item[0][1:]))
    ]
    return markdown_table(["operator", "judge", "implementation", "cases", *dtypes], body, right=3)


def suite_table(verdicts: list[Verdict]) -> str:
    """Return a row for each of ONNX's operators and each implementation."""
    rows: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in verdicts:
        rows.setdefault((verdict.operator, verdict.impl), []).append(verdict)
    body = [
        [f"`{operator}`", impl, str(sum(v.cases for v in row)), f"{max(v.worst for v in row):.1e}"]
        for operator in ADAPTORS
        for impl in IMPLEMENTATIONS
        for row in [rows[operator, impl]]
    ]
    return markdown_table(["ONNX operator", "implementation", "cases", "worst error / allowed"], body, right=2)


def not_offered() -> str:
    """Say what is missing from the table and why."""
    rows = sorted(f"`{operator}` over {rank} axes in {dtype}" for _, dtype, operator, rank in NOT_OFFERED)
    return f"Not computed by `aten` on a CPU, because PyTorch does not: {', '.join(rows)}."


def excuses(cases: list[OnnxCase]) -> str:
    """List the cases that are not run, with their number and the reason."""
    reasons: Counter[tuple[str, str]] = Counter()
    for case in cases:
        excused = sorted(case.operators & set(EXCUSED_OPERATORS))
        if excused:
            reasons[f"`{excused[0]}`", EXCUSED_OPERATORS[excused[0]]] += 1
        else:
            for impl in IMPLEMENTATIONS:
                if reason := case.excuse(impl):
                    reasons[f"`{case.name}` by {impl}", reason] += 1
    lines = [
        f"- {what}{f', {count} cases' if count > 1 else ''}: {why}" for (what, why), count in sorted(reasons.items())
    ]
    lines += [f"- the set `{name}`: {why}" for name, why in EXCUSED_SETS.items()]
    return "Not run:\n\n" + "\n".join(lines) + f"\n\nMeasured on {machine()}."


if __name__ == "__main__":
    main()
