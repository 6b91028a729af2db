"""API keys, pages of other origins, and the headers that browsers go by."""

import base64
import json
import re

import pytest

OLD, NEW = "an-old-key-of-the-service", "a-new-key-of-the-service!"
BOTH = f"{OLD}, {NEW}"
EVERYTHING = [
    "/predict?text=good",
    "/api/v1/model",
    "/api/v1/health",
    "/metrics",
    "/",
    "/docs",
    "/openapi.json",
    "/x",
]
ASKED = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}


def _basic(key: str) -> str:
    return "Basic " + base64.b64encode(f"anybody:{key}".encode()).decode()


@pytest.fixture
def guarded(make_client):
    return make_client(api_keys=BOTH)


@pytest.mark.parametrize("key", [OLD, NEW])
@pytest.mark.parametrize(
    "header", [("authorization", "Bearer {}"), ("authorization", "bearer  {} "), ("x-api-key", "{}")]
)
def test_any_of_the_keys_opens_in_either_header(guarded, key, header):
    headers = {header[0]: header[1].format(key)}
    assert guarded.post("/predict", json={"text": "good"}, headers=headers).status_code == 200
    assert guarded.post("/predict", json={"text": ""}, headers=headers).status_code == 422


@pytest.mark.parametrize("path", EVERYTHING)
def test_nothing_is_answered_without_one(guarded, path):
    reply = guarded.get(path)
    assert reply.status_code == reply.json()["status"] == 401
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["www-authenticate"] == "Bearer"
    assert reply.json()["instance"] == reply.headers["x-request-id"]


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer"},
        {"authorization": f"Bearer {OLD[:-1]}"},
        {"authorization": f"Bearer {BOTH}"},
        {"authorization": f"Bearer {OLD} {NEW}"},
        {"authorization": f"Token {OLD}"},
        {"authorization": "Basic !!!"},
        {"authorization": b"Bearer \xff\xfe"},
        {"x-api-key": OLD.upper()},
        {"x-api-key": "wrong", "authorization": f"Bearer {OLD}"},
        {"cookie": f"key={OLD}"},
        {"authorization": _basic(OLD), "sec-fetch-site": "cross-site"},
    ],
)
def test_what_is_no_key_opens_nothing_and_is_not_repeated(guarded, headers, log_records):
    reply = guarded.post("/predict", json={"text": "good"}, headers=headers)
    assert reply.status_code == 401
    assert OLD[:-1] not in reply.text + str(log_records)


def test_a_key_in_the_address_does_not_count(guarded):
    assert guarded.get("/predict", params={"text": "good", "key": OLD, "api_key": OLD}).status_code == 401


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/health/live/"])
def test_probes_need_none(guarded, path):
    assert guarded.get(path).status_code == guarded.request("HEAD", path).status_code == 200


@pytest.mark.parametrize("path", ["/health/live/../../predict", "/health/livex", "//health/live", "/health"])
def test_only_they(guarded, path):
    assert guarded.get(path).status_code == 401


def test_the_way_through_a_proxy_changes_nothing(make_client):
    client = make_client(api_keys=OLD, root_path="/sentiment")
    for root in ("", "/sentiment"):
        assert client.get(f"{root}/health/ready").status_code == 200
        assert client.get(f"{root}/api/v1/model").status_code == 401
        assert client.get(f"{root}/api/v1/model", headers={"x-api-key": OLD}).status_code == 200


def test_a_browser_asks_its_user_for_the_key(guarded):
    asked = guarded.get("/monitor", headers={"accept": "text/html,*/*"})
    assert asked.status_code == 401
    assert asked.headers["www-authenticate"].startswith("Basic ")
    for key in (OLD, NEW):
        headers = {"authorization": _basic(key), "accept": "text/html", "sec-fetch-site": "none"}
        assert guarded.get("/monitor", headers=headers).status_code == 200
    same = {"authorization": _basic(OLD), "sec-fetch-site": "same-origin"}
    assert guarded.post("/predict", json={"text": "good"}, headers=same).status_code == 200


def test_the_schema_says_how_a_key_is_sent(guarded, client):
    schema = guarded.get("/openapi.json", headers={"x-api-key": OLD}).json()
    assert {scheme["type"] for scheme in schema["components"]["securitySchemes"].values()} == {
        "http",
        "apiKey",
    }
    assert schema["security"]
    assert schema["paths"]["/health/live"]["get"]["security"] == []
    assert "401" not in schema["paths"]["/health/live"]["get"]["responses"]
    assert "401" in schema["paths"]["/predict"]["post"]["responses"]
    assert "security" not in client.get("/openapi.json").json()


def test_a_listed_origin_may_ask_with_its_headers(make_client):
    client = make_client(cors_origins="https://a.example/, 'http://localhost:3000'", api_keys=OLD)
    wanted = ASKED | {"Access-Control-Request-Headers": "content-type,authorization"}
    for origin in ("https://a.example", "http://localhost:3000"):
        reply = client.request("OPTIONS", "/predict", headers=wanted | {"Origin": origin})
        assert (reply.status_code, reply.content) == (204, b"")
        assert reply.headers["access-control-allow-origin"] == origin
        assert "POST" in reply.headers["access-control-allow-methods"]
        assert {"authorization", "content-type", "x-api-key"} <= set(
            reply.headers["access-control-allow-headers"].split(", ")
        )
        assert reply.headers["vary"] == "Origin"
        refused = client.post("/predict", json={"text": "good"}, headers={"Origin": origin})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == origin
        assert "x-request-id" in refused.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    "origin",
    [
        "https://a.example/",
        "https://a.exampl",
        "https://a",
        "https://a.example.evil.example",
        "https://a.example:444",
        "http://a.example",
        "https://xa.example",
        "https://A.example",
        "null",
        "https://a.example, https://b.example",
        "*",
    ],
)
def test_no_other_origin_passes(make_client, origin):
    client = make_client(cors_origins="https://a.example, https://b.example")
    preflight = client.request("OPTIONS", "/predict", headers=ASKED | {"Origin": origin})
    assert preflight.status_code == preflight.json()["status"] == 403
    reply = client.post("/predict", json={"text": "good"}, headers={"Origin": origin})
    assert reply.status_code == 200
    for headers in (preflight.headers, reply.headers):
        assert "access-control-allow-origin" not in headers
        assert headers["vary"] == "Origin"


def test_any_origin_may_ask_where_the_list_is_a_star(make_client):
    reply = make_client(cors_origins="*").get("/health/live", headers={"Origin": "https://anybody.example"})
    assert reply.headers["access-control-allow-origin"] == "*"


def test_a_failure_of_the_server_reaches_the_page_too(make_client, monkeypatch):
    client = make_client(cors_origins="https://a.example")

    async def broken(*_args, **_options):
        raise ZeroDivisionError

    monkeypatch.setattr(client.service.inference, "predict", broken)
    reply = client.post("/predict", json={"text": "good"}, headers={"Origin": "https://a.example"})
    assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (500, "https://a.example")


def test_without_a_list_no_page_may_ask(client):
    reply = client.request("OPTIONS", "/predict", headers=ASKED)
    assert reply.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    assert not [name for name in reply.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "path", ["/health/live", "/predict?text=good", "/nothing", "/", "/metrics", "/monitor", "/docs"]
)
def test_every_reply_tells_browsers_what_it_is_not(client, path):
    headers = client.get(path, headers={"accept": "text/html"}).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    policy = headers["content-security-policy"]
    assert policy.startswith(("default-src 'none'", "default-src 'self'"))
    assert "frame-ancestors 'none'" in policy
    assert headers["cache-control"] in ("no-store", "no-cache")


def test_the_policy_of_the_documentation_lets_its_own_scripts_run(client):
    """Each inline script is named by its digest, each address by its host."""
    import hashlib

    reply = client.get("/docs")
    policy = dict(part.split(" ", 1) for part in reply.headers["content-security-policy"].split("; "))
    scripts = re.findall(r"<script>(.*?)</script>", reply.text, re.DOTALL)
    assert scripts
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy["script-src"]
    for kind, address in re.findall(r'<(script|link)[^>]* (?:src|href)="(https[^"]+)"', reply.text):
        host = policy["script-src" if kind == "script" else "style-src"].split(" ")[0]
        assert address.startswith(host)
    assert "unsafe" not in policy["script-src"]


def test_the_documentation_finds_its_schema_with_and_without_the_proxy(make_client):
    client = make_client(root_path="/sentiment")
    page = client.get("/docs").text
    (address,) = re.findall(r"url: '([^']+)'", page)
    assert address == "/sentiment/openapi.json"
    for path in (address, "/openapi.json"):
        assert json.loads(client.get(path).content)["paths"]["/predict"]
