import socket

import pytest

from slidenet.core.errors import ArchiveAwayError, ArchiveError, ConfigError
from slidenet.pipelines.archives.asking import ask, check_api, entry


def test_a_busy_server_is_asked_again_and_a_busy_one_for_ever_is_one_line(archive):
    archive.says["/x"] = [503, 429, {"a": 1}]
    assert ask(f"{archive.url}/x") == {"a": 1}
    archive.says["/x"] = [500]
    with pytest.raises(ArchiveAwayError, match=r"does not answer \(HTTP 500: not today\)") as away:
        ask(f"{archive.url}/x", {"q": "é"})
    assert "\n" not in str(away.value)
    assert archive.asked == [("/x", None)] * 3 + [("/x", {"q": "é"})] * 3


def test_a_refusal_is_not_asked_again_and_says_what_the_server_says(archive):
    with pytest.raises(ArchiveError, match=r"refuses the question \(HTTP 404: not today\)"):
        ask(f"{archive.url}/nowhere")
    assert len(archive.asked) == 1


@pytest.mark.parametrize(
    ("said", "found"),
    [(b"<html>log in</html>", "no JSON"), ([1], "JSON of the kind list"), (b'{"a": 1', "no JSON")],
)
def test_what_is_no_answer_is_told(archive, said, found):
    archive.says["/x"] = [said]
    with pytest.raises(ArchiveError, match=f"something else than its documentation.*{found}"):
        ask(f"{archive.url}/x")


def test_without_a_network_it_is_one_line_at_once(archive):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/status"
        with pytest.raises(ArchiveAwayError, match=r"Connection refused.*--portal-file FILE --off"):
            ask(url)


def test_entries_of_another_kind_are_told():
    assert entry({"a": {"b": 3}}, "a", "b", kind=int, url="x") == 3
    for answer in ({"a": {"b": True}}, {"a": 3}, {}):
        with pytest.raises(ArchiveError, match=r"no a\.b"):
            entry(answer, "a", "b", kind=int, url="x")


@pytest.mark.parametrize(
    "api", ["", "ftp://x", "api.gdc.cancer.gov", "https://me:pw@x", "https://"]
)
def test_an_api_is_a_web_address_without_secrets(api):
    with pytest.raises(ConfigError):
        check_api(api)
    assert check_api("https://x.org/v/") == "https://x.org/v"


@pytest.mark.parametrize(
    "api",
    ["https://me:secret@x.org", "https://x.org?token=secret", "https://[::1", "https://x\n.y"],
)
def test_what_is_no_api_is_refused_in_one_line_without_secrets(api):
    with pytest.raises(ConfigError) as caught:
        check_api(api)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
