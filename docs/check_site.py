"""Checks a built site: no broken link, no page without one, nothing too wide or large.

    python docs/check_site.py build/html [--browser chromium]

Links, images and anchors are looked up in the HTML, and so is whether links lead from
the home page to each page. With a browser each page is also
set as wide as a phone and as a desk's screen, and what sticks out of it is told.
"""

import argparse
import functools
import html
import http.server
import json
import re
import subprocess
import sys
import tempfile
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

WIDTHS = (390, 1200)
LARGEST_PAGE = 1_500_000  # bytes, with the pictures in it

MEASURE = """<!doctype html><meta charset="utf-8"><pre id="result"></pre><script>
const pages = PAGES, width = WIDTH, found = {};
// Code, equations and wide tables may scroll by themselves.
const MAY_SCROLL = "pre, math, div.math, mjx-container, mjx-assistive-mml, " +
  ".pst-scrollable-table-container";
function sticksOut(element, frame) {
  const right = element.getBoundingClientRect().right;
  for (let e = element.parentElement; e; e = e.parentElement) {
    if (e.matches(MAY_SCROLL)) return false;
    const style = frame.contentWindow.getComputedStyle(e);
    if (style.position === "fixed") return false;
    if (style.overflowX !== "visible" && e.clientWidth)
      return right > e.getBoundingClientRect().left + e.clientLeft + e.clientWidth + 1;
  }
  return right > width + 1;
}
// On a desk's screen code need not scroll either, but for whole modules and output.
function overflows(element) {
  return width > 1000 && element.matches("pre")
    && !element.closest(".whole-module, .highlight-text, .highlight-none")
    && element.scrollWidth > element.clientWidth + 1;
}
async function measure() {
  for (const page of pages) {
    const frame = document.createElement("iframe");
    frame.style = `width: ${width}px; height: 800px; border: 0`;
    frame.src = page;
    const loaded = new Promise(done => frame.onload = done);
    document.body.append(frame);
    await loaded;
    const inner = frame.contentDocument, wide = [];
    for (const element of inner.querySelectorAll("main *")) {
      const box = element.getBoundingClientRect();
      if (box.width && (sticksOut(element, frame) || overflows(element)))
        wide.push(element.tagName + " " + element.textContent.trim().slice(0, 60));
    }
    const whole = inner.documentElement.scrollWidth;
    if (whole > width || wide.length) found[page] = [whole, wide.slice(0, 3)];
    frame.remove();
  }
  document.getElementById("result").textContent = JSON.stringify(found);
}
measure();
</script>
"""


class Page(HTMLParser):
    """Links and anchors of a page, and whether it is made for small screens."""

    def __init__(self, text):
        super().__init__()
        self.links, self.anchors, self.has_viewport = [], set(), False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors.update(
            attributes[name] for name in ("id", "name") if attributes.get(name)
        )
        if tag == "meta" and attributes.get("name") == "viewport":
            self.has_viewport = "width=device-width" in attributes.get("content", "")
        name = {"a": "href", "link": "href", "img": "src", "script": "src"}.get(tag)
        if name and attributes.get(name):
            self.links.append(attributes[name])


def found(site):
    """The pages of a site, but for the theme's own files."""
    pages = sorted(site.rglob("*.html"))
    return [page for page in pages if page.relative_to(site).parts[0] != "_static"]


def read(site):
    """The pages of a site by their paths."""
    return {path: Page(path.read_text(encoding="utf-8")) for path in found(site)}


def target_of(path, link):
    """The file to which a link within the site leads from the page at a path."""
    there = urlsplit(link).path
    return (path.parent / unquote(there)).resolve() if there else path


def orphans(site):
    """A line for each page to which no links lead from the home page."""
    pages, home = read(site), site / "index.html"
    reached, to_read = set(), [home] if home in pages else []
    while to_read:
        path = to_read.pop()
        if path in pages and path not in reached:
            reached.add(path)
            links = [link for link in pages[path].links if not urlsplit(link).scheme]
            to_read += [target_of(path, link) for link in links]
    missed = [path for path in pages if reached and path not in reached]
    return [f"{path.relative_to(site)}: no link leads here" for path in missed]


def broken_links(site):
    """A line for each link within the site that leads nowhere."""
    pages = read(site)
    faults = []
    for path, page in pages.items():
        name = path.relative_to(site)
        if path.stat().st_size > LARGEST_PAGE:
            faults.append(f"{name}: {path.stat().st_size} bytes")
        if not page.has_viewport:
            faults.append(f"{name}: no viewport")
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if parts.scheme not in ("http", "https", "mailto", "data"):
                    faults.append(f"{name}: {link}: unknown scheme")
                continue
            target = target_of(path, link)
            if not target.exists():
                faults.append(f"{name}: {link}: no such file")
            elif parts.fragment and target in pages:
                anchor = unquote(parts.fragment)
                if anchor not in pages[target].anchors:
                    faults.append(f"{name}: {link}: no such anchor")
    return faults, len(pages)


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_GET(self):
        measure = re.fullmatch(r"/measure-(\d+)\.html", self.path)
        if not measure:
            super().do_GET()
            return
        site = Path(self.directory)
        pages = [str(path.relative_to(site)) for path in found(site)]
        text = MEASURE.replace("PAGES", json.dumps(pages)).replace("WIDTH", measure[1])
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(text.encode())


def wide_pages(site, browser, width):
    """A line for each page that has something wider than itself."""
    handler = functools.partial(_Silent, directory=str(site))
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/measure-{width}.html"
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
        options += ["--virtual-time-budget=600000", f"--user-data-dir={profile}"]
        run = subprocess.run(
            [browser, *options, address], capture_output=True, text=True, timeout=300
        )
        server.shutdown()
    found = re.search(r'<pre id="result">(.*?)</pre>', run.stdout, flags=re.S)
    if not found or not found[1]:
        return [f"{browser} measured nothing: {run.stderr[-500:]}"]
    measured = json.loads(html.unescape(found[1]))
    return [
        f"{page}: {whole} pixels wide on a screen of {width}: {'; '.join(wide)}"
        for page, (whole, wide) in measured.items()
    ]


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Check a built site.")
    parser.add_argument("site", type=Path)
    parser.add_argument("--browser", help="a Chromium to measure pages with")
    options = parser.parse_args(arguments)
    site = options.site.resolve()
    faults, n_pages = broken_links(site)
    faults += orphans(site)
    if options.browser:
        for width in WIDTHS:
            faults += wide_pages(site, options.browser, width)
    for fault in faults:
        print(fault)
    looked_at = "links" if not options.browser else f"links, widths {WIDTHS}"
    print(f"{n_pages} pages ({looked_at}): {len(faults)} faults")
    return len(faults)


if __name__ == "__main__":
    sys.exit(min(main(), 1))
