"""The pages in a real browser: a text is tried, its truth is told, the monitor shows it, by keyboard and on a phone."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.server_process import ServerProcess

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not CHROMIUM or not DRIVER, reason="needs Debian's packages chromium and chromium-driver"
    ),
]
KEY = "a-key-of-the-tests-alone"
PHONE = (390, 844)
DESKTOP = (1280, 900)


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("pages")
    with ServerProcess(folder, MODEL_SOURCE="embedded", INFERENCE_LOG="false", DRIFT_MINIMUM="20") as process:
        process.wait_until_ready()
        for index in range(24):
            reply = process.predict("A warm and funny film." if index % 2 else "Dull from start to finish.")
            process.ask("POST", "/api/v1/feedback", {"id": reply["id"], "label": "positive"})
        process.ask("POST", "/predict", {"text": ""})
        yield process


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    profile = tmp_path_factory.mktemp("profile")
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    environment = {**os.environ, "HOME": str(profile), "XDG_CONFIG_HOME": str(profile)}
    driver = webdriver.Chrome(options=options, service=Service(DRIVER, env=environment))
    driver.set_page_load_timeout(60)
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, server) -> Iterator[Callable[..., Any]]:
    """`page("/monitor", size=PHONE)`: the browser there. What the page complains about fails the test."""

    def go(path: str, size: tuple[int, int] = DESKTOP, base: str | None = None, scheme: str = "light") -> Any:
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        browser.get_log("browser")
        browser.get((base or f"http://127.0.0.1:{server.port}") + path)
        return browser

    yield go
    complaints = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert complaints == []


def until(browser: Any, script: str, seconds: float = 40) -> Any:
    """Return what a script gives as soon as that is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := browser.execute_script(f"return {script}"):
            return found
        time.sleep(0.05)
    raise AssertionError(f"never true: {script}\n{browser.execute_script('return document.body.innerText')}")


def keys(browser: Any, *pressed: str) -> None:
    from selenium.webdriver import ActionChains

    ActionChains(browser).send_keys(*pressed).perform()


def drawn(browser: Any) -> None:
    until(browser, "document.querySelectorAll('#chart-list svg').length >= 6")


UNNAMED = """
const named = entry => entry.getAttribute('aria-label') || entry.textContent.trim() || entry.labels?.length
  || document.getElementById(entry.getAttribute('aria-labelledby'))?.textContent;
return [...document.querySelectorAll('a, button, select, textarea, progress, svg[role=img], [role=region]')]
  .filter(entry => !named(entry)).map(entry => entry.outerHTML.slice(0, 100));
"""

CONTRASTS = """
const linear = value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const light = color => {
  const [red, green, blue] = color.match(/[\\d.]+/g).slice(0, 3).map(value => linear(value / 255));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};
const behind = entry => {
  for (; entry; entry = entry.parentElement) {
    const color = getComputedStyle(entry).backgroundColor;
    if (!color.startsWith('rgba(0, 0, 0, 0')) return color;
  }
  return 'rgb(255, 255, 255)';
};
const ratio = entry => {
  const style = getComputedStyle(entry);
  const ink = light(entry.namespaceURI.endsWith('svg') ? style.fill : style.color);
  const [more, less] = [ink, light(behind(entry))].sort((one, other) => other - one);
  return (more + 0.05) / (less + 0.05);
};
return [...document.querySelectorAll('h1, h2, h3, p, a, button, dt, dd, td, th, li, summary, label, .figure, text')]
  .filter(entry => entry.textContent.trim() && entry.checkVisibility() && ratio(entry) < 4.5)
  .map(entry => entry.outerHTML.slice(0, 100));
"""

SMALL = """
return [...document.querySelectorAll('button, select')]
  .filter(entry => entry.checkVisibility() && entry.offsetHeight < 40).length;
"""


def test_a_text_is_tried_and_its_truth_told_by_keyboard(page, server):
    browser = page("/")
    until(browser, "document.getElementById('model').textContent.includes('digest')")
    assert browser.execute_script("return document.activeElement.id") == "text"
    keys(browser, "A warm, funny and beautifully acted film.")
    keys(browser, "\ue004", "\ue007")  # Tab to the button, Enter.
    assert until(browser, "document.getElementById('answer').textContent") == "Positive"
    assert until(browser, "document.querySelectorAll('#bars progress').length") == 2
    shown = json.loads(browser.execute_script("return document.getElementById('json').textContent"))
    assert shown["sentiment"] == "Positive"
    before = server.ask("GET", "/api/v1/monitor")[1]["accuracy"]["window"]["rows"]
    keys(browser, "\ue004", "\ue00d")  # Tab to the first truth, space.
    until(browser, "document.getElementById('question').textContent.startsWith('Thank you')")
    assert server.ask("GET", "/api/v1/monitor")[1]["accuracy"]["window"]["rows"] == before + 1


def test_what_the_server_refuses_is_told_in_words(page):
    browser = page("/")
    until(browser, "document.getElementById('model').textContent.includes('digest')")
    keys(browser, "   ")
    browser.execute_script("document.getElementById('form').requestSubmit()")
    assert "blank" in until(browser, "document.getElementById('problem').textContent")
    # The refusal itself, 422, is in the browser's console, as it should be.
    assert any("422" in entry["message"] for entry in browser.get_log("browser"))


def test_the_monitor_shows_what_happened(page):
    browser = page("/monitor")
    drawn(browser)
    text = browser.execute_script("return document.body.innerText")
    assert "embedded" in text
    assert "Length in tokens – drifted" in text
    assert "A warm and funny film." in text
    assert "drift:tokens began" in text
    assert "Needs a look" in text
    assert browser.execute_script("return document.querySelectorAll('#drift svg[role=img]').length") == 6
    assert browser.execute_script("return document.querySelectorAll('#chart-list path').length") >= 6


def test_it_goes_on_by_itself_until_it_is_paused(page):
    browser = page("/monitor")
    drawn(browser)
    first = browser.execute_script("return document.getElementById('status').textContent")
    until(browser, f"document.getElementById('status').textContent !== {json.dumps(first)}")
    browser.execute_script("document.getElementById('pause').focus()")
    keys(browser, "\ue00d")
    assert (
        browser.execute_script("return document.getElementById('pause').getAttribute('aria-pressed')")
        == "true"
    )
    assert browser.execute_script("return document.activeElement.id") == "pause"


def test_every_control_is_reached_by_keyboard_and_named(page):
    browser = page("/monitor")
    drawn(browser)
    assert browser.execute_script(UNNAMED) == []
    reached = []
    for _ in range(12):
        keys(browser, "\ue004")
        reached.append(
            browser.execute_script("return document.activeElement.textContent.trim().slice(0, 20)")
        )
    assert reached[:5] == ["Skip to the charts", "Try the model", "Metrics", "JSON", "API"]
    assert "Pause" in reached
    assert "As a table" in reached


@pytest.mark.parametrize("path", ["/", "/monitor"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_can_be_read_on_a_phone_by_day_and_by_night(page, path, scheme):
    browser = page(path, size=PHONE, scheme=scheme)
    if path == "/monitor":
        drawn(browser)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= PHONE[0]
    assert browser.execute_script(CONTRASTS) == []
    assert browser.execute_script(SMALL) == 0


def test_pages_work_under_a_proxys_path_and_with_a_key(page, tmp_path: Path):
    with ServerProcess(
        tmp_path, MODEL_SOURCE="embedded", INFERENCE_LOG="false", ROOT_PATH="/sentiment", API_KEYS=KEY
    ) as server:
        server.wait_until_ready()
        browser = page("/sentiment/monitor", base=f"http://any:{KEY}@127.0.0.1:{server.port}")
        drawn(browser)
        assert "ready" in browser.execute_script("return document.getElementById('facts').innerText")
        browser = page("/sentiment/", base=f"http://127.0.0.1:{server.port}")
        until(browser, "document.getElementById('model').textContent.includes('digest')")
