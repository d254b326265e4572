"""The order of the gallery."""

FIRST = (
    "tutorial",
    "compare",
    "displays",
    "xor",
    "textbook_digits",
    "from_scratch",
    "gradient_check",
    # of "Watch it learn"
    "backpropagation_by_hand",
    "two_moons",
    "xor_hidden_layer",
    "saturation",
    "momentum",
)


class FirstToRead:
    """A sort key: tutorial, pictures, the method; then the others, by name."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, file):
        name = file.removesuffix(".py")
        return FIRST.index(name) if name in FIRST else len(FIRST), name
