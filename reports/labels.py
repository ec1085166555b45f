"""Place the labels of a scatter plot so that they cover neither each other nor the points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Anchor = Literal["left", "center", "right"]
CHAR_PX, LINE_PX, POINT_PX = 6.3, 13.0, 6.0


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """Return the shared area in square pixels."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, across) * max(0.0, down)


@dataclass(frozen=True, slots=True)
class Label:
    """Where one text goes.

    Parameters
    ----------
    box
        Rectangle that the text fills.
    anchor
        The part of the text that is held, as near to the point as it gets: widths of texts are estimates.
    leader
        Whether the text is so far from its point that a line should join them.
    """

    box: Box
    anchor: Anchor
    leader: bool

    @property
    def position(self) -> tuple[float, float]:
        """Where the anchor is, in pixels."""
        across = {"left": self.box.left, "right": self.box.right, "center": (self.box.left + self.box.right) / 2}
        return across[self.anchor], (self.box.top + self.box.bottom) / 2


def place_labels(
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    width: float,
    height: float,
    lines: Sequence[Box] = (),
) -> list[Label]:
    """Place one text beside each point, greedily: each where it covers least.

    Parameters
    ----------
    points
        Pixels from the left and from the top.
    texts
        One a point.
    width, height
        Size of the plot in pixels. Texts stay inside it.
    lines
        Thin rectangles that texts had better not cross.

    Returns
    -------
    labels
        One a point, in the order given.

    Examples
    --------
    >>> place_labels([(100.0, 50.0)], ["a"], 200.0, 100.0)[0].box.left > 100.0
    True
    """
    taken = [Box(x - POINT_PX, y - POINT_PX, x + POINT_PX, y + POINT_PX) for x, y in points]
    placed: dict[int, Label] = {}
    # The most crowded points choose first: they have the fewest places to go.
    crowding = [-sum(abs(x - u) < 90 and abs(y - v) < 30 for u, v in points) for x, y in points]
    for index in sorted(range(len(points)), key=crowding.__getitem__):
        best = min(
            _candidates(*points[index], len(texts[index]) * CHAR_PX),
            key=lambda choice: _badness(choice, taken, lines, width, height),
        )
        placed[index] = Label(best[0], _anchor(best[0], points[index][0]), leader=best[1] >= 4)
        taken.append(best[0])
    return [placed[index] for index in range(len(points))]


def _anchor(box: Box, x: float) -> Anchor:
    if box.left > x:
        return "left"
    return "right" if box.right < x else "center"


def _candidates(x: float, y: float, width: float) -> list[tuple[Box, int]]:
    """List places around a point from the most to the least wanted, with their rank."""
    half = LINE_PX / 2
    boxes: list[tuple[Box, int]] = []
    near = POINT_PX + 3
    for ring, gap in enumerate((near, near + 16, near + 32, near + 48, near + 64)):
        spots = [
            (x + gap, y),
            (x - gap - width, y),
            (x - width / 2, y - gap - half),
            (x - width / 2, y + gap + half),
        ]
        if ring:
            spots += [
                (x + gap / 2, y - gap),
                (x + gap / 2, y + gap),
                (x - gap / 2 - width, y - gap),
                (x - gap / 2 - width, y + gap),
            ]
        for spot, (left, middle) in enumerate(spots):
            boxes.append((Box(left, middle - half, left + width, middle + half), 8 * ring + spot))
    return boxes


def _badness(choice: tuple[Box, int], taken: Sequence[Box], lines: Sequence[Box], width: float, height: float) -> float:
    box, rank = choice
    covered = sum(box.overlap(other) for other in taken)
    outside = max(0.0, -box.left) + max(0.0, box.right - width) + max(0.0, -box.top) + max(0.0, box.bottom - height)
    crossed = sum(box.overlap(line) > 0 for line in lines)
    return 50.0 * covered + 25.0 * crossed + 1000.0 * outside + 4.0 * rank
