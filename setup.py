"""The optional native extension; everything else about the package stands in pyproject.toml.

The C++ sources under `striate/ops/impl/native`, where there are any, become one extension module. It is optional:
where there is no compiler, or it fails, the install goes on without it and PyTorch computes everything.
"""

from pathlib import Path

from setuptools import Extension, setup

sources = sorted(str(path) for path in Path("src/striate/ops/impl/native").glob("*.cpp"))

setup(
    ext_modules=[
        Extension(
            "striate.ops.impl._native",
            sources,
            language="c++",
            extra_compile_args=["-std=c++17", "-O3"],
            optional=True,
        )
    ]
    if sources
    else [],
)
