"""
Train on a table of an SQLite database
======================================

Train on a database, a few thousand rows at a time. ::

    python examples/sqlite_batches.py [--rows 60000] [--epochs 2]

The script makes a database with a table of 20 columns of numbers and a target. It reads
the table through a cursor and trains a regressor on at most 5,000 rows at a time. It
needs memory for these rows and the network, however long the table is.
"""

# sphinx_gallery_thumbnail_path = 'images/batches.png'

import argparse
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np

from sklearn_bp import TwoLayerRegressor

ROWS_PER_BATCH = 5_000
N_FEATURES = 20


def make_database(path, n_rows):
    rng = np.random.default_rng(0)
    names = ", ".join(f"x{j} REAL" for j in range(N_FEATURES))
    marks = ", ".join("?" * (N_FEATURES + 1))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"CREATE TABLE measurements ({names}, y REAL)")
        for start in range(0, n_rows, ROWS_PER_BATCH):
            X = rng.normal(size=(min(ROWS_PER_BATCH, n_rows - start), N_FEATURES))
            y = 10 + X[:, 0] * X[:, 1] + 2 * X[:, 2]
            rows = np.column_stack([X, y]).tolist()
            connection.executemany(f"INSERT INTO measurements VALUES ({marks})", rows)


def batches(path, report=None):
    """Yield (X, y), in a different random order in each pass.

    Neighbouring rows are often similar.  A row's place in the order is a hash of its
    number, so that the database sorts numbers, not rows.
    """
    salt = int(np.random.default_rng().integers(2**31))
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        total = connection.execute("SELECT count(*) FROM measurements").fetchone()[0]
        cursor = connection.execute(
            "SELECT m.* FROM (SELECT rowid AS id FROM measurements "
            f"ORDER BY (rowid * 2654435761 + {salt}) % 4294967291) "
            "JOIN measurements AS m ON m.rowid = id"
        )
        done = 0
        while rows := cursor.fetchmany(ROWS_PER_BATCH):
            values = np.array(rows)
            yield values[:, :-1], values[:, -1]
            done += len(rows)
            if report is not None:
                report(done, total)


def progress_bar(done, total):
    n = 40 * done // total
    end = "\n" if done == total else ""
    bar = "#" * n + "." * (40 - n)
    print(f"\r  [{bar}] {done}/{total} rows", end=end, flush=True)


def train(path, epochs):
    model = TwoLayerRegressor(random_state=0)
    return model.fit_batches(lambda: batches(path, progress_bar), epochs=epochs)


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Train on an SQLite table.")
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.sqlite"
        make_database(path, options.rows)
        print(f"{path.stat().st_size / 1e6:.0f} MB")
        model = train(path, options.epochs)
        X, y = next(batches(path))
        print(f"R2 {model.score(X, y):.3f} on {len(y)} rows")


if __name__ == "__main__":
    main()
