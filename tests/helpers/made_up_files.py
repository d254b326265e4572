"""Made-up checkpoints that look whole, with a correct digest."""

import hashlib
import io
import json

import numpy as np

from sklearn_bp._fitting import state_files


def sealed(rest):
    """With the head of a whole file."""
    version = state_files.VERSION.to_bytes(4, "little")
    return state_files.MAGIC + version + hashlib.sha256(rest).digest() + rest


def body(content):
    """The content after the head."""
    return content[len(state_files.MAGIC) + 4 + hashlib.sha256().digest_size :]


def packed(tree, arrays, savez=np.savez):
    """A file of a tree, as JSON knows it or as bytes, and of arrays."""
    tree = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
    file = io.BytesIO()
    named = {str(i): array for i, array in enumerate(arrays)}
    savez(file, tree=np.frombuffer(tree, np.uint8), **named)
    return sealed(file.getvalue())


def unpacked(content):
    """The tree and the arrays of a file."""
    with np.load(io.BytesIO(body(content))) as archive:
        tree = json.loads(archive["tree"].tobytes())
        return tree, [archive[str(i)] for i in range(len(archive.files) - 1)]
