"""One look for every figure: readable type, few colours that mean the same thing everywhere."""

import io
from typing import Any

NEGATIVE, POSITIVE = "#c2543c", "#23798c"
NEUTRAL, ACCENT, FAINT = "#4a5560", "#d99a26", "#c9d0d6"
CLASS_COLOURS = (NEGATIVE, POSITIVE)
_COLOURS = 64


def use_style() -> Any:
    """Set matplotlib's defaults for the figures of this project; return ``matplotlib.pyplot``."""
    import matplotlib as mpl
    from cycler import cycler
    from matplotlib import pyplot

    mpl.rcParams.update(
        {
            "figure.dpi": 110,
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "savefig.bbox": "tight",
            "font.family": "DejaVu Sans",
            "font.size": 10,
            "axes.titlesize": 11.5,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.titlepad": 10,
            "axes.labelcolor": NEUTRAL,
            "axes.edgecolor": FAINT,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.prop_cycle": cycler(color=[POSITIVE, NEGATIVE, ACCENT, NEUTRAL]),
            "grid.color": "#e6eaed",
            "grid.linewidth": 0.8,
            "xtick.color": NEUTRAL,
            "ytick.color": NEUTRAL,
            "legend.frameon": False,
            "lines.linewidth": 2.0,
        }
    )
    return pyplot


def show(figure: Any) -> None:
    """Show a figure in a notebook as a PNG of few colours, a third of what the notebook would keep by itself."""
    from IPython.display import Image, display
    from matplotlib import pyplot
    from PIL import Image as Pixels

    drawn, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    pyplot.close(figure)  # Else the notebook shows it once more.
    with Pixels.open(drawn) as image:
        image.convert("RGB").quantize(_COLOURS).save(packed, "png", optimize=True)
    display(Image(data=packed.getvalue(), format="png"))
