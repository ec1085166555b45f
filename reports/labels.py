"""Place the labels of a scatter plot so that they cover neither each other nor the points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Anchor = Literal["left", "center", "right"]
Point = tuple[float, float]
CHAR_PX, LINE_PX, POINT_PX = 6.3, 13.0, 6.0
_GAPS = (9.0, 18.0, 30.0, 44.0, 62.0, 84.0, 110.0)
# From the right, where a label is read most easily, around the point.
_ANGLES = tuple(math.radians(degrees) for degrees in (0, 180, 90, 270, 30, 330, 150, 210, 60, 300, 120, 240))
_PASSES = 6


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
        return across * down if across > 0 and down > 0 else 0.0

    def distance(self, point: Point) -> float:
        """Return how far a point is from the rectangle; 0 inside."""
        across = max(self.left - point[0], 0.0, point[0] - self.right)
        down = max(self.top - point[1], 0.0, point[1] - self.bottom)
        return math.hypot(across, down)


@dataclass(frozen=True, slots=True)
class Label:
    """Where one text goes.

    Parameters
    ----------
    box
        Rectangle that the text fills.
    anchor
        The part of the text that is held, as near to the point as it gets: widths of texts are estimates.
    gap
        Pixels between point and text.
    """

    box: Box
    anchor: Anchor
    gap: float

    @property
    def position(self) -> Point:
        """Where the anchor is, in pixels."""
        across = {"left": self.box.left, "right": self.box.right, "center": (self.box.left + self.box.right) / 2}
        return across[self.anchor], (self.box.top + self.box.bottom) / 2

    @property
    def leader(self) -> bool:
        """Whether the text is so far from its point that a line should join them."""
        return self.gap > _GAPS[0]

    def end(self, point: Point) -> Point:
        """Return where a line from the point meets the text: the middle of the side that faces it."""
        if self.anchor != "center":
            return self.position
        return self.position[0], self.box.top if point[1] < self.box.top else self.box.bottom


def place_labels(
    points: Sequence[Point], texts: Sequence[str], width: float, height: float, lines: Sequence[Box] = ()
) -> list[Label]:
    """Place one text near each point, each where it disturbs least, until no text gains by moving.

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
    plot = _Plot(points, width, height, lines)
    choices = [
        sorted(((plot.fixed(index, label), label) for label in _candidates(point, text)), key=lambda pair: pair[0])
        for index, (point, text) in enumerate(zip(points, texts, strict=True))
    ]
    placed = [choice[0][1] for choice in choices]
    for _ in range(_PASSES):
        before = list(placed)
        for index, choice in enumerate(choices):
            others = [(points[k], label) for k, label in enumerate(placed) if k != index]
            best = math.inf
            for fixed, label in choice:
                if fixed >= best:
                    break
                cost = fixed + _among(points[index], label, others)
                if cost < best:
                    best, placed[index] = cost, label
        if placed == before:
            break
    return placed


def _candidates(point: Point, text: str) -> list[Label]:
    """List places around a point: rings of directions."""
    width, half = len(text) * CHAR_PX, LINE_PX / 2
    labels = []
    for gap in _GAPS:
        for angle in _ANGLES:
            x, y = point[0] + gap * math.cos(angle), point[1] - gap * math.sin(angle)
            if abs(math.cos(angle)) < 1e-9:
                anchor: Anchor = "center"
                left, y = x - width / 2, y - math.copysign(half, math.sin(angle))
            else:
                anchor = "left" if math.cos(angle) > 0 else "right"
                left = x if anchor == "left" else x - width
            labels.append(Label(Box(left, y - half, left + width, y + half), anchor, gap))
    return labels


@dataclass(frozen=True)
class _Plot:
    """What does not move: points, lines, edges."""

    points: Sequence[Point]
    width: float
    height: float
    lines: Sequence[Box]

    def fixed(self, index: int, label: Label) -> float:
        """Cost of a place for a label, whatever the other labels do."""
        box, own = label.box, self.points[index]
        outside = max(0.0, -box.left) + max(0.0, box.right - self.width)
        outside += max(0.0, -box.top) + max(0.0, box.bottom - self.height)
        cost = 1000.0 * outside + 1.0 * label.gap + 25.0 * sum(box.overlap(line) > 0 for line in self.lines)
        for other in (point for k, point in enumerate(self.points) if k != index):
            distance = box.distance(other)
            if distance < POINT_PX + 1:
                cost += 400.0
            elif distance < 2.2 * POINT_PX:
                # A text beside a point that is not its own is read as that point's.
                cost += 20.0
            if label.leader and _segment_distance(other, own, label.end(own)) < POINT_PX - 1:
                cost += 30.0
        return cost


def _among(point: Point, label: Label, others: Sequence[tuple[Point, Label]]) -> float:
    """Cost of a place for a label, as the other labels stand."""
    cost = 0.0
    for other, placed in others:
        covered = label.box.overlap(placed.box)
        if covered:
            cost += 500.0 + covered
        if label.leader and _crosses(point, label.end(point), placed.box):
            cost += 120.0
        if placed.leader and _crosses(other, placed.end(other), label.box):
            cost += 120.0
    return cost


def _segment_distance(point: Point, start: Point, end: Point) -> float:
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = dx * dx + dy * dy
    along = ((point[0] - start[0]) * dx + (point[1] - start[1]) * dy) / length if length else 0.0
    along = min(max(along, 0.0), 1.0)
    return math.hypot(point[0] - start[0] - along * dx, point[1] - start[1] - along * dy)


def _crosses(start: Point, end: Point, box: Box) -> bool:
    """Tell whether a segment runs through a rectangle (sampled: both are a few pixels in size)."""
    (x, y), (u, v) = start, end
    if max(x, u) < box.left or min(x, u) > box.right or max(y, v) < box.top or min(y, v) > box.bottom:
        return False
    steps = 12
    return any(box.distance((x + (u - x) * i / steps, y + (v - y) * i / steps)) == 0 for i in range(1, steps))
