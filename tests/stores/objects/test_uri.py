import pytest

from slidenet.core.errors import ConfigError
from slidenet.stores.objects import is_uri, join_uri, name_of_uri, parent_of_uri, shown_uri
from slidenet.stores.objects.facts import ObjectFacts, as_version
from slidenet.stores.objects.uri import bucket_and_key, named_uri

SIGNED = "https://me:secret@host:8080/a%20b/c.svs?id=5&X-Amz-Signature=ffff&sig=x%2By#top"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://b/k", True),
        ("S3://b/k", True),
        ("abfs://c@account.dfs.core.windows.net/k", True),
        ("https://host/x.svs", True),
        ("file:///etc/passwd", False),
        ("ftp://host/x", False),
        ("/data/s3:/x", False),
        ("s3:/b/k", False),
        ("C:\\slides\\x.svs", False),
        ("", False),
        (None, False),
    ],
)
def test_what_is_an_address(text, expected):
    assert is_uri(text) is expected


def test_rights_are_not_shown():
    assert shown_uri(SIGNED) == "https://host:8080/a%20b/c.svs"
    assert shown_uri("https://me:a/b@host/x?y") == "https://..."  # no user by RFC 3986, but meant
    assert shown_uri("https://me:p?ss@host/x") == "https://..."
    assert shown_uri("https://me:p#ss@[::1]:80/x") == "https://..."
    assert shown_uri("s3://KEY:SECRET@bucket/k") == "s3://bucket/k"
    assert shown_uri("s3://bucket/a?b#c@d") == "s3://bucket/a?b#c@d"
    assert shown_uri("az://box@account.net/k") == "az://box@account.net/k"
    assert shown_uri("az://box:pw@account.net/k") == "az://account.net/k"
    assert shown_uri("https://host?sig=1") == "https://host"
    assert shown_uri("https://me:pw@[::1]:80/x") == "https://[::1]:80/x"
    assert shown_uri("az://box/k?sv=1&sig=secret") == "az://box/k"


def test_an_address_with_a_pasted_signature_is_refused_without_it():
    with pytest.raises(ConfigError, match="bears a signature") as caught:
        bucket_and_key("az://box/k?sv=1&sig=secret")
    assert "secret" not in str(caught.value)


def test_an_address_signed_anew_means_the_same_object():
    again = SIGNED.replace("ffff", "eeee").replace("secret", "other")
    other = SIGNED.replace("id=5", "id=6")
    assert named_uri(SIGNED) == "https://host:8080/a%20b/c.svs?id=5"
    assert ObjectFacts(SIGNED, 1, "v").digest == ObjectFacts(again, 1, "v").digest
    assert ObjectFacts(SIGNED, 1, "v").digest != ObjectFacts(other, 1, "v").digest
    assert ObjectFacts(SIGNED, 1, "v").digest != ObjectFacts(SIGNED, 1, "w").digest


def test_names_and_folders():
    assert name_of_uri(SIGNED) == "c.svs"
    assert name_of_uri("https://host/a%20b.svs") == "a b.svs"
    assert name_of_uri("s3://b/x/a%20b.svs") == "a%20b.svs"
    assert name_of_uri("s3://b/x/folder/") == "folder"
    assert parent_of_uri("s3://b/x/y.csv") == "s3://b/x/"
    assert parent_of_uri("s3://b/y.csv") == "s3://b/"
    assert join_uri("s3://b/x/", "../z/./y.svs") == "s3://b/z/y.svs"
    assert join_uri("s3://b/x", "s3://c/y") == "s3://c/y"
    assert join_uri(parent_of_uri(SIGNED), "d.svs") == "https://me:secret@host:8080/a%20b/d.svs"
    with pytest.raises(ConfigError, match="leads out of"):
        join_uri("s3://b/x/", "../../y")


def test_a_bucket_takes_no_password():
    assert bucket_and_key("s3://b/x/y") == ("b", "x/y")
    assert bucket_and_key("az://box@account.net/k") == ("box@account.net", "k")
    for uri in ("s3:///k", "s3://KEY:SECRET@b/k"):
        with pytest.raises(ConfigError, match="names") as caught:
            bucket_and_key(uri)
        assert "SECRET" not in str(caught.value)


def test_a_version_is_short_and_printable():
    assert as_version("abc", None, "", 5) == "abc 5"
    assert len(as_version("x" * 1000)) == 32
    assert as_version("a\x1b[2J").isalnum()
