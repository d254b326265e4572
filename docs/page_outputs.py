"""Write the outputs of the Python blocks of the pages into the blocks below them.

    python docs/page_outputs.py [page.md ...]

A `text` block right after a `python` block is the output of the block. The blocks of a
page continue each other. The tests allow numbers to differ by a tenth, because they
vary with versions and processors; after a change of the defaults, this script writes
them again.
"""

import contextlib
import io
import re
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(
    r"^```python\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", flags=re.M | re.S
)


def outputs(page):
    """Run the blocks of a page; for each its match, whose group 2 is shown, and output.

    Group 2 is None if the page does not show the output.
    """
    text = page.read_text(encoding="utf-8")
    names = {}
    for block in BLOCK.finditer(text):
        line = text[: block.start(1)].count("\n")
        code = compile("\n" * line + block[1], str(page), "exec")
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, names)
        yield block, printed.getvalue()


def filled(page):
    """The text of a page with the outputs of today."""
    text = page.read_text(encoding="utf-8")
    for block, printed in reversed(list(outputs(page))):
        if block[2] is not None and block[2].strip() != printed.strip():
            text = text[: block.start(2)] + printed + text[block.end(2) :]
    return text


def main(names):
    import matplotlib

    matplotlib.use("agg")
    sys.path.insert(0, str(ROOT))
    warnings.simplefilter("ignore")
    pages = [Path(name) for name in names]
    for page in pages or [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        page.write_text(filled(page), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
