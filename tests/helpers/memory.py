"""The memory that a block of code takes."""

import tracemalloc


class PeakMemory:
    """Traces a `with` block; `peak` is the most that it held at a time, in bytes."""

    peak = 0

    def __enter__(self):
        tracemalloc.start()
        return self

    def __exit__(self, *error):
        _, self.peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
