"""The optional native extension; everything else about the package stands in pyproject.toml.

The C++ sources under `striate/ops/impl/native` become one extension module, which needs no header but Python's. It is
optional: where there is no compiler, or it fails, the install goes on without it and PyTorch computes everything.
"""

from pathlib import Path

from setuptools import Extension, setup

native = Path("src/striate/ops/impl/native")
sources, headers = (sorted(str(path) for path in native.glob(f"*.{ending}")) for ending in ("cpp", "h"))

setup(
    ext_modules=[
        Extension(
            "striate.ops.impl._native",
            sources,
            language="c++",
            extra_compile_args=[
                "-std=c++17",
                "-O3",
                "-g0",
                "-ffp-contract=fast",
                "-fno-math-errno",
                "-fvisibility=hidden",
            ],
            depends=headers,
            optional=True,
        )
    ]
)
