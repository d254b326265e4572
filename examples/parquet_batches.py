"""
Train on a Parquet file
=======================

Train on a file that does not fit into memory, one row group at a time. ::

    python examples/parquet_batches.py [--rows 200000] [--epochs 2] [file]

Without a file, the script makes one: 30 columns of numbers, and whether a sum of some
of them is positive. It needs pyarrow, and memory for one row group and the network,
however long the file is.
"""

# sphinx_gallery_thumbnail_path = 'images/batches.png'

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sklearn_bp import TwoLayerClassifier

ROWS_PER_GROUP = 10_000
N_FEATURES = 30


def make_file(path, n_rows):
    """Write the file, a row group at a time."""
    rng = np.random.default_rng(0)
    names = [f"x{j}" for j in range(N_FEATURES)]
    schema = pa.schema([(name, pa.float64()) for name in names] + [("y", pa.bool_())])
    with pq.ParquetWriter(path, schema, compression="none") as writer:
        for start in range(0, n_rows, ROWS_PER_GROUP):
            X = rng.normal(size=(min(ROWS_PER_GROUP, n_rows - start), N_FEATURES))
            y = X[:, :3].sum(axis=1) + X[:, 3] ** 2 > 1
            writer.write_table(pa.table([*X.T, y], schema=schema))


class RowGroups:
    """The row groups of a file as (X, y); begins anew whenever it is iterated."""

    def __init__(self, path, report=None):
        self.path, self.report = path, report

    def __iter__(self):
        with pq.ParquetFile(self.path) as file:
            for i in range(file.num_row_groups):
                table = file.read_row_group(i)
                y = table["y"].to_numpy()
                yield np.column_stack(table.drop_columns("y").columns), y
                if self.report is not None:
                    self.report(i + 1, file.num_row_groups)


def progress_bar(done, total):
    n = 40 * done // total
    end = "\n" if done == total else ""
    bar = "#" * n + "." * (40 - n)
    print(f"\r  [{bar}] {done}/{total} row groups", end=end, flush=True)


def train(path, epochs):
    model = TwoLayerClassifier(random_state=0)
    source = RowGroups(path, progress_bar)
    return model.fit_batches(source, classes=[False, True], epochs=epochs)


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Train on a Parquet file.")
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        path = options.file
        if path is None:
            path = Path(folder) / "data.parquet"
            make_file(path, options.rows)
        print(f"{path.stat().st_size / 1e6:.0f} MB")
        model = train(path, options.epochs)
        X, y = next(iter(RowGroups(path)))
        print(f"accuracy {model.score(X, y):.3f} on the first row group")


if __name__ == "__main__":
    main()
