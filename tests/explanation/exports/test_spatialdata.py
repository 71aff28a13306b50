import numpy as np
import pytest

from slidenet.core.errors import CoordinateError
from slidenet.explanation.exports import as_spatialdata

spatialdata = pytest.importorskip("spatialdata", reason="no extra of slidenet brings spatialdata")


def test_tiles_and_table_come_back_at_their_places(tmp_path, maps, unplaced, no_tiles):
    overview = np.full((128, 96, 3), 200, np.uint8)
    as_spatialdata(maps, overview=overview).write(tmp_path / "a.zarr")
    found = spatialdata.read_zarr(tmp_path / "a.zarr")
    bounds = found["tiles"].bounds.to_numpy()
    np.testing.assert_array_equal(bounds, np.hstack([maps.coords, maps.coords + 64]))
    values = spatialdata.get_values(
        "evidence_tumour", sdata=found, element_name="tiles", table_name="maps"
    )
    np.testing.assert_array_equal(values["evidence_tumour"], maps.maps[0].values)
    extent = spatialdata.get_extent(found["overview"], coordinate_system="level0")
    assert (tuple(extent["x"]), tuple(extent["y"])) == ((0, 384), (0, 512))
    with pytest.raises(CoordinateError, match="not known where the tiles"):
        as_spatialdata(unplaced)
    with pytest.raises(CoordinateError, match="no tiles"):
        as_spatialdata(no_tiles)
