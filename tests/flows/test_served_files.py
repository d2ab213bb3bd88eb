"""The report is served; nothing else on the disk is."""

import http.client
from urllib.parse import urlsplit

import pytest

from flows.served_files import served

KEY = "known-to-the-owner"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    (root / "secret.txt").write_text("not for the browser")
    (root / "reports").mkdir()
    (root / "reports/index.html").write_text("the report")
    (root / "reports/way_out").symlink_to(root)
    with served(root, 0, KEY) as url:
        yield urlsplit(url)


def get(address, path: str, host: str | None = None, key: str = f"/{KEY}") -> tuple[int, bytes]:
    """Ask for exactly this path, which a browser would tidy up first."""
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=10)
    connection.putrequest("GET", f"{key}{path}", skip_host=True)
    connection.putheader("Host", host or address.netloc)
    connection.endheaders()
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def test_report_is_served_on_loopback(address):
    assert address.hostname == "127.0.0.1"
    assert get(address, "/reports/index.html") == (200, b"the report")


@pytest.mark.parametrize(
    "path",
    [
        "/secret.txt",
        "/reports/../secret.txt",
        "/reports/..%2fsecret.txt",
        "/reports/%2e%2e/secret.txt",
        "/reports/%2e%2e%2fsecret.txt",
        "/reports/....//secret.txt",
        "/reports//etc/passwd",
        "/reports/%2fetc%2fpasswd",
        "/reports/..%5csecret.txt",
        "/reports/way_out/secret.txt",
        "/runs/../../../../../../../../etc/passwd",
    ],
)
def test_no_path_climbs_out(address, path):
    status, content = get(address, path)
    assert status == 404
    assert b"not for the browser" not in content
    assert b"root:" not in content


def test_name_of_another_site_that_leads_here_is_refused(address):
    assert get(address, "/reports/index.html", host="example.org")[0] == 403


@pytest.mark.parametrize("key", ["", "/another"])
def test_who_does_not_know_the_key_finds_nothing(address, key):
    assert get(address, "/reports/index.html", key=key)[0] == 404
    assert get(address, "/", key=key)[0] == 404
