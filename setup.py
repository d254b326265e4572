"""The extension of `sklearn_bp._compiled`, which is optional.

Where it cannot be built, everything works without it, more slowly.  Everything else
that a build needs stands in setup.cfg.  For work on a checkout:

    python setup.py build_ext --inplace
"""

import os
import sysconfig
import tempfile
from glob import glob

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# One binary for all versions of Python, except for those without the GIL.
LIMITED_API = not sysconfig.get_config_var("Py_GIL_DISABLED")

# Compilers vectorize loops without branches (relu, Adam's roots) only if they may
# ignore errno and traps, and sums only if their order is free: with -O3 alone a step
# takes three times as long.
FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd", "-g0"]


class BuildWithFlags(build_ext):
    """Builds with those of the flags that the compiler takes.

    SKLEARN_BP_CFLAGS adds to them, and must be taken: tests/sanitize.sh sets it.
    """

    def build_extension(self, ext):
        flags = ["/O2", "/std:c11"]
        if self.compiler.compiler_type != "msvc":
            flags = [flag for flag in FLAGS if self._takes(flag)]
            ext.libraries = ["m"]
        more = os.environ.get("SKLEARN_BP_CFLAGS", "").split()
        ext.extra_compile_args = flags + more
        ext.extra_link_args = more
        super().build_extension(ext)

    def _takes(self, flag):
        with tempfile.TemporaryDirectory() as folder:
            source = os.path.join(folder, "empty.c")
            with open(source, "w") as file:
                file.write("int empty;\n")
            try:
                self.compiler.compile(
                    [source], output_dir=folder, extra_postargs=["-Werror", flag]
                )
            except Exception:
                return False
        return True


FOLDER = "sklearn_bp/_compiled/"
setup(
    ext_modules=[
        Extension(
            "sklearn_bp._compiled._engine",
            [FOLDER + "engine.c"],
            depends=["setup.py", *sorted(glob(FOLDER + "*.h"))],
            py_limited_api=LIMITED_API,
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildWithFlags},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if LIMITED_API else {},
)
