"""The report in a real browser: drawn, silent, alone, clickable and printable."""

from __future__ import annotations

import base64
import json
import os
import shutil
import time
from typing import TYPE_CHECKING, Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from tests.support.synthetic_run import Shape, synthetic_run

from midhaul.model import Verdict
from midhaul.report import write
from midhaul.testbed.measure.report import build

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Driver = webdriver.Chrome

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1300,1000",
)
EVIL = "<img src=http://127.0.0.1:9/x onerror=alert(1)>"
PATIENCE_S = 120
MARKS = """
const found = [];
for (const figure of document.querySelectorAll("main figure[id]")) {
  let area = 0;
  const marks = "[role=graphics-symbol]";
  for (const mark of figure.querySelectorAll("svg " + marks)) {
    const box = mark.getBoundingClientRect();
    area += Math.max(box.width, 1) * Math.max(box.height, 1) - 1;
  }
  found.push([figure.querySelector("h3").textContent, area]);
}
return found;
"""


def program(*names: str) -> str:
    """The path of an installed program; without one: failed in CI, else skipped."""
    for name in names:
        if path := shutil.which(name):
            return path
    message = f"none of {', '.join(names)} is installed (.ci/run installs it)"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of an invalid run whose labels are hostile."""
    folder = tmp_path_factory.mktemp("report")
    shape = Shape(
        detectors=("street-n", "street-s", EVIL),
        resizes=(1.0, 0.5),
        labels=("car", "person", EVIL),
        n_blocks=2,
        verdict=Verdict(reasons=(f"link {EVIL} off",), advice=("look",)),
    )
    file = folder / "index.html"
    write(build(synthetic_run(folder, shape)), file)
    return file


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """A headless Chromium with a profile of its own, its log kept."""
    options = webdriver.ChromeOptions()
    options.binary_location = program("chromium", "chromium-browser", "google-chrome")
    for flag in FLAGS:
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability(
        "goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"}
    )
    service = Service(program("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def opened(browser: Driver, report: Path) -> tuple[Driver, list[str], list[str]]:
    """The report in the browser: driver, addresses asked for, console messages."""
    browser.get("about:blank")
    browser.get_log("performance")
    browser.get_log("browser")
    browser.get(report.as_uri())
    end = time.monotonic() + PATIENCE_S
    drawn = "return document.documentElement.dataset.charts === 'drawn'"
    while not browser.execute_script(drawn):
        assert time.monotonic() < end, "the charts are not drawn"
        time.sleep(0.1)
    log = browser.get_log("performance")
    events = [json.loads(entry["message"])["message"] for entry in log]
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    said = [str(entry["message"]) for entry in browser.get_log("browser")]
    return browser, asked, said


Opened = tuple[Any, list[str], list[str]]


def test_nothing_outside_is_asked_for(opened: Opened, report: Path) -> None:
    """The only address that is asked for is the file itself."""
    _, asked, _ = opened
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]


def test_console_is_silent(opened: Opened) -> None:
    """Neither errors nor warnings; the policy blocked nothing."""
    _, _, said = opened
    assert said == []


def test_every_chart_is_drawn(opened: Opened) -> None:
    """Each figure holds marks that cover some area."""
    driver, _, _ = opened
    found = driver.execute_script(MARKS)
    assert len(found) >= 25
    assert [title for title, area in found if area < 20] == []
    assert driver.find_elements(By.CSS_SELECTOR, ".failed") == []


def test_banner_is_the_first_thing_to_see(opened: Opened) -> None:
    """The verdict stands in the first screen, its reason in words."""
    driver, _, _ = opened
    banner = driver.find_element(By.CSS_SELECTOR, ".verdict.bad")
    assert banner.rect["y"] + banner.rect["height"] < 500
    assert EVIL in banner.text


def test_hostile_labels_do_nothing(opened: Opened) -> None:
    """No element came out of a label, in tables, charts or tooltips."""
    driver, _, _ = opened
    assert driver.find_elements(By.CSS_SELECTOR, "img") == []
    assert EVIL in driver.find_element(By.CSS_SELECTOR, "table").text


def test_nothing_is_wider_than_the_window(opened: Opened) -> None:
    """Wide tables scroll inside themselves; the page does not scroll sideways."""
    driver, _, _ = opened
    root = "document.documentElement"
    too_wide = f"return {root}.scrollWidth - {root}.clientWidth"
    assert driver.execute_script(too_wide) <= 0


def test_tables_sort_by_number(opened: Opened) -> None:
    """A click on a heading sorts by size, a second one the other way round."""
    driver, _, _ = opened
    table = driver.find_element(By.CSS_SELECTOR, "table.sortable")
    heads = table.find_elements(By.TAG_NAME, "th")
    column = [head.text.split("\n")[0] for head in heads].index("bytes per image")
    cells = f"tbody td:nth-child({column + 1})"

    def sizes() -> list[float]:
        found = table.find_elements(By.CSS_SELECTOR, cells)
        return [float(cell.get_attribute("data-order")) for cell in found]

    button = heads[column].find_element(By.CSS_SELECTOR, "[role=button]")
    driver.execute_script("arguments[0].click()", button)
    assert heads[column].get_attribute("aria-sort") == "ascending"
    assert sizes() == sorted(sizes())
    driver.execute_script("arguments[0].click()", button)
    assert sizes() == sorted(sizes(), reverse=True)


def test_rows_can_be_filtered(opened: Opened) -> None:
    """Typing leaves the rows that hold every word."""
    driver, _, _ = opened
    box = driver.find_element(By.CSS_SELECTOR, ".filter input")
    table = driver.find_element(By.CSS_SELECTOR, "table.sortable")

    def shown(words: str) -> list[str]:
        typed = (
            "arguments[0].value = arguments[1];"
            "arguments[0].dispatchEvent(new Event('input'))"
        )
        driver.execute_script(typed, box, words)
        rows = table.find_elements(By.CSS_SELECTOR, "tbody tr:not([hidden])")
        return [row.text for row in rows]

    rows = shown("street-s resize")
    assert len(rows) == 4
    assert all("street-s" in row and "resize" in row for row in rows)
    assert len(shown("")) == 24


def test_a_choice_redraws_its_chart(opened: Opened) -> None:
    """Picking another preprocessing changes the marks of the chart below."""
    driver, _, _ = opened
    lists = driver.find_elements(By.CSS_SELECTOR, "form.controls select")
    figure = lists[0].find_element(By.XPATH, "./ancestor::figure")
    marks = "return arguments[0].querySelector('svg').innerHTML"
    before = driver.execute_script(marks, figure)
    change = (
        "arguments[0].selectedIndex = 1;"
        "arguments[0].dispatchEvent(new Event('change', {bubbles: true}))"
    )
    driver.execute_script(change, lists[0])
    end = time.monotonic() + PATIENCE_S
    while driver.execute_script(marks, figure) == before:
        assert time.monotonic() < end, "the chart did not change"
        time.sleep(0.05)


def test_it_prints(opened: Opened) -> None:
    """Printing gives a PDF of several pages, with the charts in it."""
    driver, _, _ = opened
    settings = {"printBackground": True, "preferCSSPageSize": True}
    answer = driver.execute_cdp_cmd("Page.printToPDF", settings)
    pdf = base64.b64decode(answer["data"])
    assert pdf.startswith(b"%PDF")
    assert len(pdf) > 100_000
    assert pdf.count(b"/Type /Page\n") >= 8
