"""The site: `python -m sphinx -W docs build/html`.

The pages are plain Markdown that reads well without Sphinx, too. What the site adds:

- links to the code, `../sklearn_bp/X.py`, lead to pages of highlighted source, those
  that stand on a name to its line (`source_pages`, `to_site_links`);
- `<!-- benchmarks/README.md -->` and `<!-- CHANGELOG.md -->` become these pages, so
  that each text stands in one place;
- pages that no table of contents names are appended to the user guide's;
- equations are set by MathJax, which comes with the site.
"""

import ast
import html
import importlib
import inspect
import os
import re
import sys
from pathlib import Path

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

DOCS = Path(__file__).parent
ROOT = DOCS.parent
PACKAGE = ROOT / "sklearn_bp"
sys.path[:0] = [str(ROOT), str(DOCS)]
os.environ.setdefault("MPLBACKEND", "Agg")

import gallery_players  # noqa: E402

import sklearn_bp  # noqa: E402

project = "sklearn_bp"
author = "the sklearn_bp developers"
release = version = sklearn_bp.__version__
html_title = f"{project} {version}"

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.linkcode",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "sphinx_gallery.gen_gallery",
]
root_doc = "index"
exclude_patterns = ["_templates", "**sg_execution_times.rst"]
templates_path = ["_templates"]
nitpicky = False

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
# Links that `resolve_source_links` resolves.
myst_url_schemes = {"http": None, "https": None, "mailto": None, "source": None}

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say it in words
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"\.py$",  # all of them are run
    "within_subsection_order": "gallery_order.FirstToRead",
    "capture_repr": (),  # what is printed and drawn, and no objects
    "image_scrapers": ("gallery_players.scraper", "matplotlib"),
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_signature": False,
    "remove_config_comments": True,
    "plot_gallery": "True",
    "write_computation_times": False,  # each example says its own
}

html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "_static/icon.svg"
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system
html_show_sourcelink = False
html_domain_indices = False
html_sidebars = {
    page: []
    for page in (
        "index",
        "getting_started",
        "backpropagation",
        "results",
        "benchmarks",
        "coming_from",
        "faq",
        "versions",
        "contributing",
        "changelog",
        "source/**",
    )
}
html_theme_options = {
    "header_links_before_dropdown": 6,
    "navigation_with_keys": False,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": [],
    "footer_end": [],
    "navbar_align": "left",
}

# The pages.


def without_title(path):
    """The text of a page of the repository, below its title."""
    return (ROOT / path).read_text(encoding="utf-8").partition("\n\n")[2]


def code_link(match):
    """[`room.Name`](../sklearn_bp/room.py) to the line of the name."""
    text, room = match[1], match[2]
    name = text.strip("`").removeprefix("sklearn_bp.")
    module = room.replace("/", ".")
    if not name.startswith(f"{module}."):
        return f"[{text}](source:{room})"
    name = name.removeprefix(f"{module}.")
    code = (PACKAGE / f"{room}.py").read_text(encoding="utf-8")
    if name in named_lines(code):
        return f"[{text}](source:{room}#{name})"
    link = linkcode_resolve("py", {"module": f"sklearn_bp.{module}", "fullname": name})
    return f"[{text}]({link})"  # inherited: to where it is written


def fitted_to_screens(row):
    """A row of a table in which "x 0.98 ± 0.02" and "3 %" are on one line each.

    Otherwise, narrow screens break them after every word. Names of linked classes lose
    their modules, to which the links lead, so that tables are not too wide.
    """
    inside = r"(?<=\d) (?=[±%])|(?<=±) (?=\d)|(?<=\bx) (?=\d)"
    text = re.sub(inside, "\N{NO-BREAK SPACE}", row[0])
    return re.sub(r"\[`(?:[a-z_]+\.)+(?=[A-Z])", "[`", text)


def long_names_may_break(app, pagename, templatename, context, doctree):
    """In cells of plain text, long names may break before their last word."""
    name = r"\b([A-Z]\w*[a-z])(?=[A-Z][a-z]{7,}\b)"
    cell = r"(?<=<p>)[^<]+(?=</p></t[dh]>)"
    context["body"] = re.sub(
        cell, lambda m: re.sub(name, r"\1<wbr>", m[0]), context.get("body", "")
    )


# A file of the package in the second column of a table: the map of the rooms.
MAPPED = r"^(\|[^|]*\| )`([\w/]+)\.py` \|"

# Files of the repository that have pages of their own on the site.
PAGES = {
    r"\.\./README\.md": "index.md",
    r"\.\./CHANGELOG\.md": "changelog.md",
    r"\.\./benchmarks/README\.md": "benchmarks.md#repeating-them",
    r"\.\./examples/GALLERY_HEADER\.rst": "auto_examples/index.rst",
    r"\.\./examples/watch/GALLERY_HEADER\.rst": "auto_examples/watch/index.rst",
    r"\.\./examples/([\w/]+)\.py": r"auto_examples/\1.rst",
}


def to_site_links(app, docname, source):
    """Rewrite a page's links to the repository's files, and fill what is left open.

    Players of the gallery move to their place.
    """
    text = gallery_players.placed(source[0])
    if os.fspath(app.env.doc2path(docname, base=False)).endswith(".md"):
        text = text.replace(
            "<!-- benchmarks/README.md -->",
            without_title("benchmarks/README.md").replace("\n#", "\n##"),
        )
        text = text.replace("<!-- CHANGELOG.md -->", without_title("CHANGELOG.md"))
        text = re.sub(
            r"\[([^\]]*)\]\((?:\.\./)?sklearn_bp/([\w/]+)\.py\)", code_link, text
        )
        text = re.sub(r"^\|.*$", fitted_to_screens, text, flags=re.M)
        text = re.sub(MAPPED, r"\1[`\2.py`](source:\2) |", text, flags=re.M)
        for pattern, page in PAGES.items():
            text = re.sub(rf"\]\({pattern}\)", f"]({page})", text)
    if docname == "user_guide":
        text = text.replace("\n```\n<!-- all others -->", f"{others()}\n```")
    source[0] = text


def others():
    """Pages that no table of contents names, a line each."""
    tables = "\n".join(
        table
        for page in DOCS.glob("*.md")
        for table in re.findall(
            r"^```\{toctree\}\n(.*?)^```",
            page.read_text(encoding="utf-8"),
            flags=re.M | re.S,
        )
    )
    listed = re.findall(r"(\w+)>?$", tables, flags=re.M)
    pages = sorted(page.stem for page in DOCS.glob("*.md"))
    return "".join(f"\n{page}" for page in pages if page not in [*listed, root_doc])


# The source, a page a module.


def named_lines(code):
    """The line of each name of a module: functions, classes, their members."""
    lines = {}

    def visit(body, prefix):
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                lines[prefix + node.name] = node.lineno
            if isinstance(node, ast.ClassDef):
                visit(node.body, f"{prefix}{node.name}.")
            targets = getattr(node, "targets", [getattr(node, "target", None)])
            for target in targets:
                if isinstance(target, ast.Name):
                    lines.setdefault(prefix + target.id, node.lineno)

    visit(ast.parse(code).body, "")
    return lines


def source_pages(app):
    """A highlighted page for each module, with an anchor at each name."""
    for file in sorted(PACKAGE.rglob("*.py")):
        room = file.relative_to(PACKAGE).with_suffix("").as_posix()
        code = file.read_text(encoding="utf-8")
        marked = highlight(code, PythonLexer(stripnl=False), HtmlFormatter(nowrap=True))
        lines = marked.split("\n")
        for name, number in named_lines(code).items():
            anchor = f'<span id="{html.escape(name)}"></span>'
            lines[number - 1] = anchor + lines[number - 1]
        body = "\n".join(lines)
        title = f"sklearn_bp/{room}.py"
        context = {
            "title": title,
            "body": f'<h1>{title}</h1>\n<div class="highlight whole-module">'
            f"<pre>{body}</pre></div>",
        }
        yield f"source/{room}", context, "page.html"


def linkcode_resolve(domain, info):
    """Where autodoc's "[source]" leads."""
    if domain != "py" or not info["module"]:
        return None
    try:
        found = importlib.import_module(info["module"])
        for part in info["fullname"].split("."):
            found = getattr(found, part)
        found = inspect.unwrap(found)
        name = found.__qualname__
        # Of the classes whose module is the package, a method knows the file.
        methods = filter(inspect.isfunction, vars(found).values())
        code = next(methods, found) if inspect.isclass(found) else found
        file = Path(inspect.getsourcefile(code))
    except (AttributeError, ImportError, TypeError):
        return None
    if not file.is_relative_to(PACKAGE):
        return None
    return f"source:{file.relative_to(PACKAGE).with_suffix('').as_posix()}#{name}"


def resolve_source_links(app, doctree, docname):
    """source:room#name to the page of the room, from wherever the link stands."""
    for node in doctree.findall(nodes.reference):
        uri = node.get("refuri", "")
        if uri.startswith("source:"):
            room, _, anchor = uri.removeprefix("source:").partition("#")
            page = app.builder.get_relative_uri(docname, f"source/{room}")
            node["refuri"] = f"{page}#{anchor}" if anchor else page
            node["internal"] = True


INHERITED = ("get_params", "score", "set_callbacks", "set_params")
"""Methods of scikit-learn's classes that are documented here, too."""


def own_members_only(app, kind, name, member, skip, options):
    """Leave out most of what scikit-learn's classes bring; it is documented there."""
    if name in INHERITED:
        return None
    if re.fullmatch(r"set_\w+_request", name):
        return True
    module = getattr(inspect.unwrap(member), "__module__", None) if member else None
    if callable(member) and module and not module.startswith("sklearn_bp"):
        return True
    return None


def summary_of_modules(app, kind, name, found, options, lines):
    """Of a module's docstring its first paragraph; the rest is for readers of code."""
    if kind == "module":
        lines[:] = [*lines[: lines.index("") if "" in lines else None], ""]


def setup(app):
    app.connect("source-read", to_site_links)
    app.connect("html-collect-pages", source_pages)
    app.connect("html-page-context", long_names_may_break)
    app.connect("doctree-resolved", resolve_source_links)
    app.connect("autodoc-skip-member", own_members_only)
    app.connect("autodoc-process-docstring", summary_of_modules)
