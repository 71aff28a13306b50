import logging

import pytest

from slidenet.core.errors import (
    DiskError,
    ObjectAwayError,
    ObjectReplacedError,
    ObjectStoreError,
    SlideTimeoutError,
)
from slidenet.slides.limits import time_limit
from slidenet.stores.objects import store, store_of

pytestmark = pytest.mark.slow

BODY = bytes(range(251)) * 20_000  # 5 MB


def download(uri, path, **keywords):
    objects = store_of(uri)
    objects.read_into(uri, path, objects.facts(uri), **keywords)
    return path.read_bytes()


def test_an_object_of_s3_is_read_and_listed(bucket, tmp_path):
    uri = bucket.put("x/a b#?.svs", BODY)
    bucket.put("x/y/empty", b"")
    objects, told = store_of(uri), []
    assert objects.facts(uri).size == len(BODY)
    assert download(uri, tmp_path / "one", advance=told.append) == BODY
    assert sum(told) == len(BODY)
    assert download(f"{bucket.uri}/x/y/empty", tmp_path / "two") == b""
    every = objects.list(f"{bucket.uri}/x/")
    assert [(one.uri, one.size) for one in every] == [
        (uri, len(BODY)),
        (f"{bucket.uri}/x/y/empty", 0),
    ]
    assert every[0] == objects.facts(uri)
    here = objects.list(f"{bucket.uri}/x/", recursive=False)
    assert [one.uri for one in here] == [uri, f"{bucket.uri}/x/y/"]


def test_what_is_missing_in_s3_is_named(bucket):
    bucket.put("x/y", b"1")
    objects = store_of(bucket.uri)
    for uri, found in {
        f"{bucket.uri}/nope": f"there is no object {bucket.uri}/nope",
        "s3://no-such-bucket/x": "there is no bucket s3://no-such-bucket",
        f"{bucket.uri}/x": "no object but a folder",
        f"{bucket.uri}/": "names a bucket and no object",
    }.items():
        with pytest.raises(ObjectStoreError, match=found):
            objects.facts(uri)
    with pytest.raises(ObjectStoreError, match="there is no bucket"):
        objects.list("s3://no-such-bucket/x/")


def test_an_object_that_is_replaced_between_is_not_mixed(bucket, tmp_path):
    uri = bucket.put("x", BODY)
    objects = store_of(uri)
    facts = objects.facts(uri)
    bucket.put("x", BODY[1:])
    with pytest.raises(ObjectReplacedError, match=r"was replaced while it was read.*run again"):
        objects.read_into(uri, tmp_path / "x", facts)


def test_a_cut_download_goes_on_at_the_byte_it_had_reached(web, no_pauses, tmp_path):
    web.files["a.svs"], web.cut_after = BODY, [1_000_000, 2_000_000, 10]
    assert download(f"{web.uri}/a.svs", tmp_path / "a") == BODY
    starts = [asked for method, _, asked in web.asked if method == "GET"]
    assert starts == [None, "bytes=1000000-", "bytes=3000000-", "bytes=3000010-"]


def test_a_server_without_ranges_begins_again(web, no_pauses, tmp_path):
    web.files["a.svs"], web.cut_after, web.ranges = BODY, [1_000_000], False
    told = []
    assert download(f"{web.uri}/a.svs", tmp_path / "a", advance=told.append) == BODY
    assert sum(told) == len(BODY)
    assert min(told) == -1_000_000


def test_one_that_is_always_cut_is_given_up(web, no_pauses, tmp_path):
    web.files["a.svs"], web.cut_after = BODY, [0] * 100
    with pytest.raises(ObjectAwayError, match="at byte 0, tried 7 times"):
        download(f"{web.uri}/a.svs", tmp_path / "a")
    web.cut_after, web.ranges = [5] * 100, False
    with pytest.raises(ObjectAwayError, match="at byte 5, tried 7 times"):
        download(f"{web.uri}/a.svs", tmp_path / "a")


def test_a_busy_server_is_asked_again(web, no_pauses, tmp_path):
    web.files["a.svs"], web.busy = BODY, 3
    assert download(f"{web.uri}/a.svs", tmp_path / "a") == BODY


def test_an_object_that_is_replaced_while_it_is_cut(web, no_pauses, tmp_path):
    web.files["a.svs"], web.cut_after = BODY, [1_000_000]

    def replace(_):
        web.files["a.svs"] = BODY[::-1]

    with pytest.raises(ObjectReplacedError):
        download(f"{web.uri}/a.svs", tmp_path / "a", advance=replace)


def test_signed_addresses_that_refuse_head_are_asked_by_one_byte(web, tmp_path):
    web.files["a.svs"], web.head = BODY, False
    assert download(f"{web.uri}/a.svs?sig=1", tmp_path / "a") == BODY
    assert web.asked[1] == ("GET", "a.svs", "bytes=0-0")


def test_redirects_lead_to_web_servers_only(web, tmp_path):
    web.files["a b.svs"] = BODY
    web.moved = {"one": "/two", "two": f"{web.uri}/a%20b.svs", "round": "/round",
                 "file": "file:///etc/passwd"}  # fmt: skip
    assert download(f"{web.uri}/one", tmp_path / "a") == BODY
    for name, found in {"round": "leads in circles", "file": "leads to file:"}.items():
        with pytest.raises(ObjectStoreError, match=found):
            store_of(web.uri).facts(f"{web.uri}/{name}")


def test_no_secret_is_said(web, no_pauses, caplog):
    caplog.set_level(logging.DEBUG)
    web.forbidden, web.busy = {"a.svs"}, 1
    uri = web.uri.replace("://", "://me:PASSWORD@") + "/a.svs?X-Amz-Signature=SIGNATURE"
    with pytest.raises(ObjectStoreError, match="may not be read") as caught:
        store_of(uri).facts(uri)
    web.busy = 100
    with pytest.raises(ObjectAwayError) as away:
        store_of(uri).facts(uri)
    said = f"{caught.value} {away.value} {caplog.text}"
    assert "PASSWORD" not in said
    assert "SIGNATURE" not in said
    assert f"{web.uri}/a.svs" in said


def test_credentials_of_s3_are_not_said(bucket, caplog, no_pauses, monkeypatch):
    caplog.set_level(logging.DEBUG)
    store_of(bucket.uri).facts(bucket.put("x", b"1"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nobody is there
    with pytest.raises(ObjectAwayError) as caught:
        store_of(bucket.uri).facts(f"{bucket.uri}/x")
    said = f"{caught.value} {caplog.text}"
    assert "A-SECRET" not in said
    assert "A-KEY" not in said


def test_files_without_length_and_lists_are_refused(web):
    web.files["a"], web.length = BODY, False
    web.ranges = False
    with pytest.raises(ObjectStoreError, match="does not say how long"):
        store_of(web.uri).facts(f"{web.uri}/a")
    web.length = True
    with pytest.raises(ObjectStoreError, match="there is no file"):
        store_of(web.uri).facts(f"{web.uri}/b")
    with pytest.raises(ObjectStoreError, match="give no lists"):
        store_of(web.uri).list(f"{web.uri}/")


def test_a_full_disk_is_no_fault_of_the_network(web, tmp_path):
    web.files["a"] = BODY
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    with pytest.raises(DiskError, match="no room left"):
        download(f"{web.uri}/a", full)


def test_waiting_ends_with_the_time_of_the_slide(web, monkeypatch):
    web.busy = 1000
    monkeypatch.setattr(store, "FIRST_PAUSE_S", 0.01)
    with time_limit(0.05), pytest.raises(SlideTimeoutError):
        store_of(web.uri).facts(f"{web.uri}/a")


def test_s3_is_cut_busy_or_forbidden(s3, web, no_pauses, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ENDPOINT_URL", web.uri)
    web.files |= {"bucket/x": BODY, "bucket/y": b"1"}
    web.cut_after, web.busy, web.forbidden = [1_000_000, 2_000_000], 2, {"bucket/y"}
    assert download("s3://bucket/x", tmp_path / "x") == BODY
    assert [asked for method, _, asked in web.asked if method == "GET"] == [
        "bytes=0-",
        "bytes=1000000-",
        "bytes=3000000-",
    ]
    with pytest.raises(ObjectStoreError, match="may not be read"):
        store_of("s3://bucket/y").facts("s3://bucket/y")


def test_the_server_is_known_wherever_it_is_named(bucket, tmp_path, monkeypatch):
    assert store_of(bucket.uri).origin(bucket.uri) == bucket.client.meta.endpoint_url
    config = tmp_path / "config"
    config.write_text(f"[default]\nendpoint_url = {bucket.client.meta.endpoint_url}\n")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    type(store_of(bucket.uri).fs).clear_instance_cache()
    assert store_of(bucket.uri).origin(bucket.uri) == bucket.client.meta.endpoint_url
    type(store_of(bucket.uri).fs).clear_instance_cache()
