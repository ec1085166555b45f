import itertools

from hypothesis import given
from hypothesis import strategies as st

from reports.labels import CHAR_PX, LINE_PX, POINT_PX, Box, place_labels

WIDTH, HEIGHT = 760.0, 440.0


def test_overlap_is_the_shared_area() -> None:
    assert Box(0, 0, 10, 10).overlap(Box(7, 8, 20, 20)) == 6
    assert Box(0, 0, 10, 10).overlap(Box(10, 0, 20, 10)) == 0
    assert Box(0, 0, 10, 10).overlap(Box(-5, 20, 5, 30)) == 0


@given(st.lists(st.tuples(st.floats(60, 700), st.floats(40, 400)), min_size=1, max_size=6))
def test_a_few_labels_stay_inside_and_keep_their_size(points: list[tuple[float, float]]) -> None:
    labels = place_labels(points, ["some-scheme"] * len(points), WIDTH, HEIGHT)
    assert len(labels) == len(points)
    for label in labels:
        assert abs(label.box.right - label.box.left - 11 * CHAR_PX) < 1e-6
        assert abs(label.box.bottom - label.box.top - LINE_PX) < 1e-6
        assert label.box.left >= -1e-6
        assert label.box.right <= WIDTH + 1e-6


def test_a_cluster_of_a_dozen_is_labelled_without_any_overlap() -> None:
    points = [(300.0 + 4 * (i % 4), 200.0 + 5 * (i // 4)) for i in range(12)]
    boxes = [label.box for label in place_labels(points, ["w8a8-dynamic"] * 12, WIDTH, HEIGHT)]
    assert all(a.overlap(b) == 0 for a, b in itertools.combinations(boxes, 2))
    dots = [Box(x - POINT_PX, y - POINT_PX, x + POINT_PX, y + POINT_PX) for x, y in points]
    assert all(box.overlap(dot) == 0 for box in boxes for dot in dots)


def test_the_anchor_is_the_side_that_faces_the_point() -> None:
    right = place_labels([(10.0, 200.0)], ["name"], WIDTH, HEIGHT)[0]
    left = place_labels([(750.0, 200.0)], ["name"], WIDTH, HEIGHT)[0]
    assert (right.anchor, left.anchor) == ("left", "right")
    assert 10 < right.position[0] < 30
    assert 730 < left.position[0] < 750
    assert not right.leader


def test_labels_prefer_not_to_cross_lines() -> None:
    line = Box(100, 199, 700, 201)
    assert place_labels([(100.0, 200.0)], ["name"], WIDTH, HEIGHT)[0].box.overlap(line) > 0
    assert place_labels([(100.0, 200.0)], ["name"], WIDTH, HEIGHT, [line])[0].box.overlap(line) == 0
