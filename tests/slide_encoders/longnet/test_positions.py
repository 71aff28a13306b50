import numpy as np
import pytest
import torch

from slidenet.core.errors import CoordinateError
from slidenet.slide_encoders.longnet.positions import GridPositions, axis_table, check_grid_xy


def published_row(column, row, embed_dim):
    """One row of the published table, by its formula, in float64 and rounded once."""
    quarter = embed_dim // 4
    omega = 1.0 / 10000 ** (np.arange(quarter, dtype=float) / (embed_dim / 4.0))
    parts = [f(p * omega) for p in (row, column) for f in (np.sin, np.cos)]
    return torch.from_numpy(np.concatenate(parts)).float()


@pytest.mark.parametrize("cell", [(0, 0), (1, 0), (0, 1), (17, 403), (999, 999), (512, 3)])
def test_rows_are_bit_identical_to_the_published_table(cell):
    found = GridPositions(1000, 768)(torch.tensor([cell]))[0]
    assert torch.equal(found, published_row(*cell, 768))


def test_a_small_table_by_hand():
    table = torch.tensor([[0.0, 1.0], [np.sin(1), np.cos(1)], [np.sin(2), np.cos(2)]]).float()
    assert torch.equal(axis_table(3, 4), table)
    row = GridPositions(3, 4)(torch.tensor([[2, 1]]))[0]
    expected = torch.tensor([np.sin(1), np.cos(1), np.sin(2), np.cos(2)]).float()
    assert torch.equal(row, expected)


def test_positions_take_no_place_in_a_checkpoint():
    positions = GridPositions(1000, 768)
    assert not positions.state_dict()
    assert sum(b.nbytes for b in positions.buffers()) == 1000 * 384 * 4


@pytest.mark.parametrize(
    ("grid_xy", "message"),
    [
        (torch.tensor([[[0, 1000]]]), "spans cells 0 to 1000; expected 0 to 999"),
        (torch.tensor([[[-1, 4]]]), "spans cells -1 to 4"),
        (torch.tensor([[[0.0, 1.0]]]), "float32"),
        (torch.zeros(1, 2, 3, dtype=torch.int64), r"\(1, 2, 3\)"),
        (torch.zeros(1, 2, 2, dtype=torch.int32), "int32"),
    ],
)
def test_cells_off_the_lattice_are_refused(grid_xy, message):
    with pytest.raises(CoordinateError, match=message):
        check_grid_xy(grid_xy, 1000, slide="s1")


def test_the_lookup_itself_never_wraps():
    for cell in ((-1, 0), (0, 10)):
        with pytest.raises(IndexError):
            GridPositions(10, 8)(torch.tensor([cell]))
