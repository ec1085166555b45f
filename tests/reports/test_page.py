import html.parser
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import reports
from tests.reports import sample

VOID = {"meta", "link", "br", "img", "input", "hr"}
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u2028"


class Page(html.parser.HTMLParser):
    """Elements, attributes and texts of a page; checks that elements nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.texts: list[str] = []
        self.stack: list[str] = []
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        kind = self.stack[-1] if self.stack else ""
        {"script": self.scripts, "style": self.styles}.get(kind, self.texts).append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def source() -> str:
    return reports.render_page(sample.schemes(), sample.layers(), sample.ledger(), sample.metadata())


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


def test_the_page_refers_to_nothing_outside_itself(page: Page) -> None:
    for tag, attributes in page.elements:
        assert tag not in {"link", "base", "iframe", "object", "embed", "img", "audio", "video", "form"}
        for name, value in attributes.items():
            if name in {"src", "href", "xlink:href", "action", "srcset", "data", "poster"}:
                assert (value or "").startswith("#"), (tag, name, value)
            assert "url(http" not in (value or "")
    for style in page.styles:
        assert "@import" not in style
        assert "url(" not in style
    (policy,) = [a["content"] for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert (policy or "").startswith("default-src 'none'")
    assert "http" not in (policy or "")


def test_the_chart_library_is_there_once(source: str, page: Page) -> None:
    assert source.count("window.vegaEmbed=") == 1
    assert len(page.scripts) == 3
    assert len(source.encode()) < 2.5e6


def test_every_scheme_note_assumption_and_source_is_on_the_page(page: Page) -> None:
    metadata = sample.metadata()
    for text in (
        *sample.schemes()["scheme"],
        sample.WITNESS,
        *sample.LAYER_NAMES,
        *metadata["assumptions"],
        *metadata["sources"],
        metadata["workload_source"],
        "best of its column",
        *reports.headlines(sample.schemes(), metadata, typeset=True)[0].split(": ")[1:],
    ):
        assert text in page.text


def test_nothing_missing_is_shown_as_nan(page: Page) -> None:
    assert not re.search(r"\b(nan|None|NaT)\b", page.text)
    for _, attributes in page.elements:
        assert attributes.get("data-value") not in {"nan", "None"}


def test_best_marks_of_the_page_are_those_of_the_frame(source: str) -> None:
    row = source.split('data-value="pow2"')[1].split("</tr>", maxsplit=1)[0]
    best = re.findall(r'<td class="number best[^"]*" data-value="([^"]+)"', row)
    # Not by colour alone: a star to see, words to hear.
    assert row.count("★") == row.count("best of the column") == len(best)
    frame = sample.schemes().set_index("scheme")
    lowest = ["latency_us", "energy_pj", "area_um2", "tops_per_w", "total_cycles", "power_mw", "energy_delay_pj_s"]
    for name in lowest:
        extreme = frame[name].max() if name == "tops_per_w" else frame[name].min()
        assert float(frame[name]["pow2"]) == pytest.approx(extreme, rel=2e-3)
    assert [float(value) for value in best] == [float(frame[name]["pow2"]) for name in lowest]


def test_pictures_have_words_and_tables_have_headers(page: Page) -> None:
    charts = [attributes for _, attributes in page.elements if attributes.get("class") == "chart"]
    assert [attributes["id"] for attributes in charts] == [
        "chart-error-energy",
        "chart-energy",
        "chart-area",
        "chart-ratios",
        "chart-layers",
    ]
    assert all(attributes["role"] == "img" and len(attributes["aria-label"] or "") > 40 for attributes in charts)
    assert all(attributes.get("scope") for tag, attributes in page.elements if tag == "th")
    tags = [tag for tag, _ in page.elements]
    assert tags.count("h1") == tags.count("main") == 1
    assert tags.count("svg") == len(charts)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_links_inside_the_page_lead_somewhere(page: Page) -> None:
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    targets = [str(attributes["href"])[1:] for tag, attributes in page.elements if tag == "a"]
    assert len(targets) == 5
    assert set(targets) <= ids


def test_names_cannot_become_markup(page: Page) -> None:
    def poison(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
        return frame.assign(**{column: [f"{EVIL}{index}" for index in range(len(frame))] for column in columns})

    metadata = dict.fromkeys(("title", "workload", "accelerator", "technology", "baseline", "extra"), EVIL)
    metadata |= {"assumptions": [EVIL], "sources": [EVIL], "energy_parts": sample.ENERGY_PARTS, "more": {EVIL: EVIL}}  # type: ignore[dict-item]
    evil = Page(
        reports.render_page(
            poison(sample.schemes(), "scheme", "note", "verdict", "equal_area_array"),
            poison(sample.layers(), "scheme", "layer", "verdict", "bound"),
            poison(sample.ledger(), "scheme", "component", "reason"),
            metadata,
        )
    )
    assert len(evil.scripts) == len(page.scripts)
    assert not [tag for tag, _ in evil.elements if tag == "img"]
    assert not [name for _, attributes in evil.elements for name in attributes if name.startswith("on")]
    specs = json.loads(evil.scripts[0])
    assert any("alert(1)" in json.dumps(spec) for spec in specs.values())


def test_a_bare_frame_makes_a_page_without_charts() -> None:
    page = Page(reports.render_page(pd.DataFrame({"scheme": ["only"], "energy_pj": [math.nan]})))
    assert "only" in page.text
    assert not [tag for tag, _ in page.elements if tag == "svg"]
    assert len(page.scripts) == 2


def test_a_page_is_written_whole(tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "page.html"
    reports.write_page(path, sample.schemes(), sample.layers(), sample.ledger(), sample.metadata())
    assert path.read_text(encoding="utf-8") == source
    with pytest.raises(ValueError, match=r"^schemes must have a column scheme"):
        reports.write_page(path, pd.DataFrame({"name": ["a"]}))
    assert path.read_text(encoding="utf-8") == source
    assert [item.name for item in tmp_path.iterdir()] == ["page.html"]


def test_tables_do_not_import_the_chart_libraries() -> None:
    code = "import sys, reports; reports.compare_table; print({'altair', 'vl_convert', 'jinja2'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert run.stdout.strip() == "set()"


def test_what_is_wider_than_the_screen_scrolls_in_its_own_box(page: Page) -> None:
    """Words for screen readers are placed absolutely: only a positioned box keeps far ones off the page's width."""
    (style,) = page.styles
    for box in (".scroll", ".chart"):
        rules = re.findall(rf"(?m)^{re.escape(box)} {{([^}}]*)}}", style)
        assert any("position: relative" in rule and "overflow-x: auto" in rule for rule in rules), box
    tables = [attributes for tag, attributes in page.elements if tag == "table"]
    boxes = [attributes for _, attributes in page.elements if attributes.get("class") == "scroll"]
    assert len(tables) == len(boxes)
    assert "min-width: 760px" in style.split("@media (max-width: 800px)")[1].split("@media")[0]


def test_a_comparison_of_costs_only_has_no_chart_of_errors() -> None:
    costs = sample.schemes().drop(columns=["sqnr_db", "block_sqnr_db"])
    with pytest.raises(ValueError, match=r"^schemes must have a row with energy_pj and a finite"):
        reports.error_energy_chart(costs, sample.metadata())
    with pytest.raises(ValueError, match="sqnr_db"):
        reports.layer_chart(sample.layers().drop(columns="sqnr_db"), sample.metadata())
