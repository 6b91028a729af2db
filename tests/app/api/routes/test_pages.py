"""The pages as they are served: under any path, safe by their policy, JSON for those who ask for none of it."""

import re

import pytest

from app.api.routes.pages import WEB

HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def links(text: str) -> list[str]:
    return re.findall(r'(?:href|src)="([^"#]+)"', text)


@pytest.mark.parametrize("root", ["", "/sentiment"])
@pytest.mark.parametrize("path", ["/", "/monitor"])
def test_every_link_of_a_page_leads_somewhere_under_any_path(make_client, root, path):
    client = make_client(root_path=root)
    page = client.get(root + path, headers=HTML)
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    found = links(page.text)
    assert len(found) >= 5
    for link in found:
        assert link.startswith(f"{root}/"), link
        assert client.get(link, headers=HTML).status_code == 200, link


def test_clients_still_get_json_at_the_root(client):
    for accept in ("*/*", "application/json", ""):
        reply = client.get("/", headers={"accept": accept})
        assert reply.json()["links"]["monitor"] == "/monitor"


@pytest.mark.parametrize("path", sorted(WEB.iterdir()), ids=lambda path: path.name)
def test_nothing_is_inline_and_nothing_comes_from_elsewhere(path):
    text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
    assert "//" not in re.sub(r"(?m)^\s*//.*$|^\s*/?\*.*$", "", text)
    assert not re.search(
        r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:|eval\(|innerHTML", text
    )


def test_pages_tell_browsers_to_load_from_here_only(client):
    assert "default-src 'self'" in client.get("/monitor").headers["content-security-policy"]


def test_a_proxys_path_is_not_markup(make_client):
    client = make_client(root_path='/"><script>')
    assert "<script>" not in client.get("/monitor").text


@pytest.mark.parametrize(
    "name", ["nothing.js", "../main.py", "%2e%2e/main.py", "index.html", "monitor.js/..", "style.css%00", ""]
)
def test_only_the_pages_own_files_are_served(client, name):
    assert client.get(f"/web/{name}").status_code == 404


def test_the_pages_can_be_switched_off(make_client):
    client = make_client(pages=False)
    for path in ("/monitor", "/api/v1/monitor", "/web/monitor.js"):
        assert client.get(path).status_code == 404
    assert client.get("/", headers=HTML).json()["name"] == "marquee"
    assert "monitor" not in client.get("/").json()["links"]
    assert client.get("/metrics").status_code == 200


def test_the_report_is_what_the_page_shows(client):
    client.post("/predict", json={"text": "A good film, says ann@example.org"})
    client.post("/predict", json={"text": ""})
    report = client.get("/api/v1/monitor").json()
    assert report["status"] == "ready"
    assert report["model"]["name"] == "words"
    assert report["recent"]["predictions"] == 1
    assert report["recent"]["errors"] == {"invalid-input": 1}
    assert report["recent"]["requests"] == 2
    (prediction,) = report["predictions"]
    assert (prediction["label"], prediction["text"]) == ("positive", "A good film, says [email]")
    assert [standard["name"] for standard in report["standards"]] == ["latency", "errors", "accuracy"]
    assert report["log"]["state"] == "off"


def test_keys_guard_pages_and_figures(make_client):
    client = make_client(api_keys="a-key-of-the-tests-alone")
    for path in ("/", "/monitor", "/metrics", "/api/v1/monitor", "/web/monitor.js"):
        assert client.get(path).status_code == 401
        assert client.get(path, headers={"x-api-key": "a-key-of-the-tests-alone"}).status_code == 200
    assert client.post("/api/v1/feedback", json={"id": "x", "label": "y"}).status_code == 401
