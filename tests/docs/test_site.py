"""The checks of the built site find the faults that they look for."""

import importlib.util
import shutil

import pytest
from places import ROOT

DOCS = ROOT / "docs"
VIEWPORT = '<meta name="viewport" content="width=device-width, initial-scale=1" />'


@pytest.fixture(scope="module")
def check_site():
    spec = importlib.util.spec_from_file_location("check_site", DOCS / "check_site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(folder, **pages):
    for name, body in pages.items():
        (folder / f"{name}.html").write_text(VIEWPORT + body, encoding="utf-8")


@pytest.mark.parametrize(
    ("link", "fault"),
    [
        ("b.html", None),
        ("b.html#here", None),
        ("#own", None),
        ("b%2Ehtml?x=1#here", None),
        ("https://example.org/b.html#gone", None),
        ("c.html", "no such file"),
        ("b.html#gone", "no such anchor"),
        ("#gone", "no such anchor"),
        ("source:losses#Poisson", "unknown scheme"),
    ],
)
def test_broken_links_are_found(check_site, tmp_path, link, fault):
    write(tmp_path, a=f'<p id="own"><a href="{link}">x</a>', b='<p id="here">')
    faults, n_pages = check_site.broken_links(tmp_path.resolve())
    assert n_pages == 2
    assert faults == ([] if fault is None else [f"a.html: {link}: {fault}"])
    assert check_site.main([str(tmp_path)]) == len(faults)


def test_missing_images_and_viewports_are_found(check_site, tmp_path):
    write(tmp_path, a='<img src="gone.png">')
    (tmp_path / "b.html").write_text("<p>", encoding="utf-8")
    faults, _ = check_site.broken_links(tmp_path.resolve())
    assert faults == ["a.html: gone.png: no such file", "b.html: no viewport"]


def test_large_pages_are_found(check_site, tmp_path):
    write(tmp_path, a="x" * 1_400_000, b="x" * 1_500_000)
    (fault,), _ = check_site.broken_links(tmp_path.resolve())
    assert fault == f"b.html: {1_500_000 + len(VIEWPORT)} bytes"


def test_pages_without_a_link_are_found(check_site, tmp_path):
    write(
        tmp_path,
        index='<a href="b.html#x">',
        b='<p id="x"><a href="index.html"><a href="https://example.org/c.html">',
        c='<a href="d.html">',
        d='<a href="c.html">',
    )
    faults = ["c.html: no link leads here", "d.html: no link leads here"]
    assert check_site.orphans(tmp_path.resolve()) == faults
    assert check_site.main([str(tmp_path)]) == 2
    (tmp_path / "b.html").write_text(f'{VIEWPORT}<p id="x"><a href="c.html">')
    assert check_site.main([str(tmp_path)]) == 0


BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
@pytest.mark.parametrize(
    ("body", "at_fault"),
    [
        ("<p>short", []),
        ("<div style='width: 2000px'>x", [390, 1200]),
        # In a container that scrolls it is cut off all the same.
        ("<div style='overflow-x: auto'><div style='width: 500px'>x", [390]),
        ("<div style='overflow: hidden'><div style='width: 500px'>x", [390]),
        # Code may scroll on a phone, not on a desk; a whole module on both.
        (f"<pre style='overflow-x: auto'><span>{'x ' * 50}", []),
        (f"<pre style='overflow-x: auto'><span>{'x ' * 250}", [1200]),
        (f"<div class='whole-module'><pre style='overflow: auto'>{'x ' * 250}", []),
    ],
)
def test_cut_off_elements_are_found(check_site, tmp_path, body, at_fault):
    write(tmp_path, a=f"<main>{body}")
    found = [w for w in (390, 1200) if check_site.wide_pages(tmp_path, BROWSER, w)]
    assert found == at_fault
