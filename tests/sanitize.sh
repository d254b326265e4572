#!/usr/bin/env bash
# Build the compiled step with the sanitizers of addresses and undefined behaviour, in a
# copy of this checkout, and run its tests.  Needs gcc on Linux, and what pytest needs.
set -euo pipefail
cd "$(dirname "$0")/.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r setup.py setup.cfg pyproject.toml README.md LICENSE sklearn_bp tests "$copy"
cd "$copy"
rm -f sklearn_bp/_compiled/*.so
flags="-g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all"
SKLEARN_BP_CFLAGS="$flags" python setup.py -q build_ext --inplace
ls sklearn_bp/_compiled/_engine*.so
# Python itself leaks; its memory comes from malloc, so that arrays are guarded too.
export ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc SKLEARN_BP_ENGINE=compiled
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" \
    python -m pytest -q -x -p no:cacheprovider "${@:-tests/training/test_compiled.py}"
