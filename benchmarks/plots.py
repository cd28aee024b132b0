"""Draws the curves of a book as SVG files."""

from __future__ import annotations

import re
from pathlib import Path

from .figures import Book

INCHES = (6.4, 3.2)


def draw(book: Book, directory: Path) -> list[Path]:
    """One file for each plot; returns them. Needs the extra `bench`."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "vsdk-trio"  # the same points make the same file
    from matplotlib import pyplot

    directory.mkdir(parents=True, exist_ok=True)
    files = []
    for plot, lines in book.curves.items():
        figure, axes = pyplot.subplots(figsize=INCHES, layout="constrained")
        for line, points in lines.items():
            axes.plot(*zip(*points, strict=True), marker="o", label=line)
        axes.set_title(plot)
        axes.set_xlabel("workers" if plot.startswith("registry") else "running jobs")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend()
        file = directory / (re.sub(r"[^a-z0-9]+", "-", plot.lower()).strip("-") + ".svg")
        figure.savefig(file, metadata={"Date": None})
        pyplot.close(figure)
        files.append(file)
    return files
