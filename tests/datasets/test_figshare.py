"""Files of articles by name and number, checked against what the API lists."""

import json

import pytest
from imitation_server import Answer

from cdn_sc.datasets._figshare import fetch_figshare, listed_files
from cdn_sc.errors import DownloadError


def test_by_name_and_by_number(server, cache):
    server.add_file(42, 7, "a.txt", b"one")
    server.add_file(42, 8, "b.txt", b"two")
    assert fetch_figshare(42, name="b.txt") == cache / "figshare" / "42" / "b.txt"
    assert fetch_figshare(42, file_id=7).read_bytes() == b"one"
    assert server.asked() == ["/v2/articles/42", "/files/8", "/v2/articles/42", "/files/7"]


def test_an_article_of_many_files(server, cache):
    """The article itself lists ten files; all are found."""
    for number in range(13):
        server.add_file(42, number, f"{number}.txt", b"%d" % number)
    assert len(listed_files(42)) == 13
    assert fetch_figshare(42, name="12.txt").read_bytes() == b"12"
    # without the pages of files, the ten are better than none
    server.serve("/v2/articles/42/files?page=1&page_size=100", Answer(b"", 404))
    assert fetch_figshare(42, name="9.txt").read_bytes() == b"9"
    with pytest.raises(DownloadError, match=r"has no file 11\.txt"):
        fetch_figshare(42, name="11.txt")


def test_other_files_of_the_article_may_be_odd(server, cache):
    server.add_file(42, 6, "elsewhere", b"", computed_md5="", is_link_only=True)
    server.add_file(42, 7, "a.txt", b"one")
    assert fetch_figshare(42, name="a.txt").read_bytes() == b"one"


def test_by_hand_while_figshare_cannot_be_asked(server, cache, caplog):
    path = cache / "figshare" / "42" / "a.txt"
    with pytest.raises(
        DownloadError, match=r"Download a\.txt by hand from https://doi.*figshare\.42"
    ) as caught:
        fetch_figshare(42, name="a.txt")
    assert f"put it at {path}" in str(caught.value)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    assert fetch_figshare(42, name="a.txt") == path
    assert "taken as it is" in caplog.text


def test_second_address_of_a_file(server, cache):
    server.add_file(42, 7, "a.txt", b"one")
    server.serve("/files/7", Answer(b"", 202))
    assert fetch_figshare(42, name="a.txt").read_bytes() == b"one"
    assert server.asked()[-1] == "/v2/file/download/7"


def test_md5_of_the_uploader_where_there_is_no_other(server, cache):
    server.add_file(42, 7, "a.txt", b"one", computed_md5="", supplied_md5="0" * 32)
    with pytest.raises(DownloadError, match="another checksum than md5:0000"):
        fetch_figshare(42, name="a.txt")


def test_file_that_the_article_does_not_have(server, cache):
    server.add_file(42, 7, "a.txt", b"one")
    with pytest.raises(DownloadError, match=r"article 42 .*figshare\.42.* has no file b.txt.*a.txt \(7\)"):
        fetch_figshare(42, name="b.txt")


@pytest.mark.parametrize(
    ("entry", "answer"),
    [
        ({"name": "../a.txt"}, "impossible name"),
        ({"name": "/a.txt"}, "impossible name"),
        ({"name": "..\\a.txt"}, "impossible name"),
        ({"name": ""}, "impossible name"),
        ({"name": ".."}, "impossible name"),
        ({"computed_md5": ""}, "without a checksum"),
        ({"size": "many"}, "something else than a list of files"),
    ],
)
def test_entries_that_cannot_be_trusted(server, cache, entry, answer):
    server.add_file(42, 7, **({"name": "a.txt", "body": b"one"} | entry))
    with pytest.raises(DownloadError, match=answer):
        fetch_figshare(42, file_id=7)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html>Are you human?</html>", "web page"),
        (b"soon", "else than JSON"),
        (b"[]", "else than an article"),
        (b'{"files": 3}', "else than a list of files"),
        (b"{}", "else than a list of files"),
    ],
)
def test_odd_answers_of_the_api(server, cache, body, reason):
    server.serve("/v2/articles/42", body)
    with pytest.raises(DownloadError, match=f"could not ask figshare.*article 42.*{reason}"):
        fetch_figshare(42, name="a.txt")


def test_list_is_remembered_for_when_figshare_is_down(server, cache, caplog):
    server.add_file(42, 7, "a.txt", b"one")
    server.add_file(42, 8, "b.txt", b"two")
    fetch_figshare(42, name="a.txt")
    server.serve("/v2/articles/42", Answer(b"", 503))
    assert fetch_figshare(42, name="b.txt").read_bytes() == b"two"
    assert "figshare cannot be asked" in caplog.text


def test_mirror_has_the_layout_of_the_cache(server, cache, monkeypatch):
    """What one machine fetched can be put on any web server."""
    server.add_file(42, 7, "a file.txt", b"one")
    fetch_figshare(42, name="a file.txt")
    server.answers.clear()
    for path in cache.rglob("[!.]*"):
        if path.is_file():
            name = str(path.relative_to(cache)).replace(" ", "%20")
            server.serve(f"/mirror/{name}", path.read_bytes())
            path.unlink()
    monkeypatch.setenv("CDN_SC_MIRROR", f"{server.url}/mirror")
    server.requests.clear()
    assert fetch_figshare(42, name="a file.txt").read_bytes() == b"one"
    assert server.asked() == ["/mirror/figshare/42.json", "/mirror/figshare/42/a%20file.txt"]
    assert json.loads((cache / "figshare" / "42.json").read_text())[0]["id"] == 7
