"""Animations of the gallery's examples as players: HTML with all pictures in it.

matplotlib writes the player. It stands where the text of the example has the comment
`.. player`, or else where the example makes it; the thumbnail is its last picture. What
changes here: pictures of 128 colors, a third of the size; a text for those who do not
see them; and no style sheet from another site, since the theme has the buttons' icons.
"""

import base64
import io
import re
import textwrap

import matplotlib.pyplot as plt
from matplotlib.animation import Animation
from PIL import Image

COLORS = 128
PICTURE = r"(?<=data:image/png;base64,)[^\"]+"
BEGIN, END, PLACE = "<!-- player -->", "<!-- end of player -->", "\n.. player\n"


def scraper(block, block_vars, gallery_conf):
    """The players of a block, as reStructuredText; their figures are closed."""
    text = ""
    for value in block_vars["example_globals"].values():
        figure = getattr(value, "_fig", None)
        if not isinstance(value, Animation) or not plt.fignum_exists(figure.number):
            continue
        player = in_page(value.to_jshtml(embed_frames=True))
        plt.close(figure)
        last = re.findall(PICTURE, player)[-1]
        with open(next(block_vars["image_path_iterator"]), "wb") as file:
            file.write(base64.b64decode(last))
        player = f"{BEGIN}\n{player}\n{END}"
        text += f"\n.. raw:: html\n\n{textwrap.indent(player, '    ')}\n"
    return text


def placed(text):
    """A page's text, its player moved to the comment `.. player` if there is one."""
    found = re.search(rf"\n\.\. raw:: html\n\n +{BEGIN}.*?{END}\n", text, flags=re.S)
    if not found or PLACE not in text:
        return text
    rest = text[: found.start()] + text[found.end() :]
    return rest.replace(PLACE, f"{found[0]}\n", 1)


def in_page(player):
    """A player's HTML as it stands in a page of the site."""
    player = re.sub(r'<link rel="stylesheet"\s+href="https://[^>]*>', "", player)
    player = player.replace("<img id=", '<img alt="The animation" id=')
    return re.sub(PICTURE, _of_few_colors, player)


def _of_few_colors(found):
    """A picture in base64, smaller."""
    content = base64.b64decode(found[0].replace("\\\n", ""))
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    smaller = io.BytesIO()
    picture.quantize(COLORS).save(smaller, "PNG", optimize=True)
    return base64.b64encode(smaller.getvalue()).decode()
