"""What an experiment found: rows for the table, and figures with their data beside them.

Contract: `write` puts `NAME.csv` for each figure into a folder, and `NAME.png` if matplotlib is installed (extra
`bench`); it returns what it wrote.
"""

import csv
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from msgspec import Struct

from scripts.bench.report import Row


class Figure(Struct, frozen=True):
    """A figure.

    Attributes:
        name: of its files.
        title, x, y: words on it.
        series: points (x, y) of each line or group of bars; for bars, x is a label.
        kind: "line" joins the points, "bars" groups the series at each label, "steps" is a distribution: the share
            (y) of values that are at most x.
        log: axes with a logarithmic scale, of "x" and "y".
    """

    name: str
    title: str
    x: str
    y: str
    series: dict[str, list[tuple[float | str, float]]]
    kind: Literal["line", "bars", "steps"] = "line"
    log: str = ""

    def write(self, folder: Path) -> Iterator[Path]:
        """Writes the data, and the picture where that is possible; yields the files."""
        folder.mkdir(parents=True, exist_ok=True)
        data = folder / f"{self.name}.csv"
        with data.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("series", self.x, self.y))
            writer.writerows((name, x, y) for name, points in self.series.items() for x, y in points)
        yield data
        if importlib.util.find_spec("matplotlib") is not None:
            yield self._draw(folder / f"{self.name}.png")

    def _draw(self, path: Path) -> Path:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Drawing

        drawing = Drawing(figsize=(8, 4.5), layout="constrained")
        FigureCanvasAgg(drawing)
        axes = drawing.add_subplot(title=self.title, xlabel=self.x, ylabel=self.y)
        labels = list(dict.fromkeys(str(x) for points in self.series.values() for x, _ in points))
        width = 0.8 / max(len(self.series), 1)
        for number, (name, points) in enumerate(self.series.items()):
            ys = [y for _, y in points]
            if self.kind == "bars":
                axes.bar(
                    [labels.index(str(x)) + (number + 0.5) * width - 0.4 for x, _ in points], ys, width, label=name
                )
            elif self.kind == "steps":
                axes.step([float(x) for x, _ in points], ys, where="post", label=name)
            else:
                axes.plot([float(x) for x, _ in points], ys, marker="o", label=name)
        if self.kind == "bars":
            axes.set_xticks(range(len(labels)), labels, rotation=20, horizontalalignment="right")
        if "x" in self.log:
            axes.set_xscale("log")
        if "y" in self.log:
            axes.set_yscale("log")
        axes.grid(alpha=0.3)
        axes.legend()
        drawing.savefig(path, dpi=150)
        return path


@dataclass
class Findings:
    """What an experiment found."""

    rows: list[Row] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)

    def write(self, folder: Path) -> list[Path]:
        """Writes all figures; the files."""
        return [path for figure in self.figures for path in figure.write(folder)]


def distribution(values: Sequence[float]) -> list[tuple[float | str, float]]:
    """The points of an empirical distribution function."""
    return [(value, (rank + 1) / len(values)) for rank, value in enumerate(sorted(values))]
