"""Features in an object store: the bags of the files there, each staged in one version."""

from pathlib import Path

import pytest
import torch

from slidenet.core.errors import ObjectReplacedError, StoreError
from slidenet.data.datamodule import read_bags
from slidenet.pipelines.results.cohort_report import write_objects
from slidenet.stores.objects import ObjectCache


@pytest.fixture
def there(cohort_kit, bucket, tmp_path):
    """Settings of a cohort here, and of the same one in a bucket."""
    here = cohort_kit.write_cohort(tmp_path / "here")
    for path in sorted(here["features"].iterdir()):
        bucket.put(f"cohort/features/{path.name}", path.read_bytes())
    bucket.put("cohort/features/readme.txt", b"none")
    place = Path(f"{bucket.uri}/cohort/features")  # what a flag makes of an address
    return here, {**here, "features": place, "object_cache": tmp_path / "cache"}


@pytest.mark.slow
def test_bags_are_those_of_the_files(there, bucket, tmp_path):
    size = max(path.stat().st_size for path in there[0]["features"].iterdir())
    here = read_bags(**there[0])
    limit = str(8 * (size + 3 * 4096))
    data = read_bags(**there[1], object_cache_limit=limit)  # of 24 files: fetched again and again
    assert data.identity() == here.identity()
    found, wanted = data.dataset("train"), here.dataset("train")
    for index in range(len(wanted)):
        assert torch.equal(found[index].features, wanted[index].features)
    (path,) = write_objects(tmp_path, data)
    lines = path.read_text().splitlines()
    assert len(lines) == 25
    etag = bucket.client.head_object(Bucket=bucket.name, Key="cohort/features/s00.h5")["ETag"]
    assert lines[1].startswith(f"s00,{bucket.uri}/cohort/features/s00.h5,")
    assert lines[1].endswith(etag.strip('"'))
    assert write_objects(tmp_path, here) == []


@pytest.mark.slow
def test_an_object_that_was_replaced_is_refused(there, bucket, tmp_path):
    data = read_bags(**there[1])
    other = there[0]["features"] / "s01.h5"
    bucket.put("cohort/features/s00.h5", other.read_bytes())
    file = data.bag_files["s00"]
    assert len(file.read().coords) == file.num_tiles, "the copy of that version is still here"
    object.__setattr__(file.source, "cache", ObjectCache(tmp_path / "other"))
    with pytest.raises(ObjectReplacedError, match=r"s00\.h5"):
        file.read()


@pytest.mark.slow
def test_a_folder_without_features_is_named(there, bucket):
    settings = {**there[1], "features": Path(f"{bucket.uri}/cohort")}
    with pytest.raises(StoreError, match=r"s3://.*/cohort/ holds no features.*right in it"):
        read_bags(**settings)
