"""Where workers may be, and which cores are theirs."""

import pytest

from slidenet.pipelines.cluster.seats import Cores, Node, free_name, nodes_of, seats_of


def described(node_id, address, alive=True, **resources):
    return {
        "NodeID": node_id,
        "NodeManagerAddress": address,
        "Alive": alive,
        "Resources": resources,
    }


def test_nodes_that_live_in_a_lasting_order():
    found = nodes_of(
        [
            described("b", "10.0.0.2", CPU=16.0, GPU=2.0),
            described("dead", "10.0.0.3", alive=False, CPU=4.0),
            described("a", "10.0.0.1", memory=1e9),
        ]
    )
    assert found == [Node("a", "10.0.0.1", 0, 0), Node("b", "10.0.0.2", 16, 2)]


NODES = [
    Node("head", "10.0.0.1", 0, 0),
    Node("big", "10.0.0.2", 20, 2),
    Node("small", "10.0.0.3", 3, 0),
]


@pytest.mark.parametrize(
    ("settings", "seats"),
    [
        # 20 cores are two workers of 10, not two of 8 and four cores that do nothing.
        ({}, [("big", 0, 10), ("small", 0, 3), ("big", 1, 10)]),
        ({"cores": 9}, [("big", 0, 9), ("big", 1, 9)]),
        ({"cores": 1}, [("big", 0, 1), ("small", 0, 1), ("big", 1, 1), ("small", 1, 1)]),
        ({"on_gpus": True}, [("big", 0, 10), ("big", 1, 10)]),
        ({"on_gpus": True, "cores": 15}, [("big", 0, 15)]),
        ({"cores": 64}, []),
    ],
)
def test_seats(settings, seats):
    found = seats_of(NODES, **settings)
    assert [(seat.node_id, seat.number, seat.cores) for seat in found][: len(seats)] == seats
    assert len(found) == (23 if settings == {"cores": 1} else len(seats))
    assert {seat.gpus for seat in found} <= {int(settings.get("on_gpus", False))}


def test_names_of_workers_are_not_given_twice():
    assert free_name("10.0.0.5", []) == "10.0.0.5"
    assert free_name("10.0.0.5", ["10.0.0.5", "10.0.0.5 (3)"]) == "10.0.0.5 (2)"


def test_workers_of_one_machine_have_cores_of_their_own():
    cores = Cores()
    there = [0, 1, 2, 3]
    assert cores.take("machine", there, 2) == (0, 1)
    assert cores.take("other", there, 2) == (0, 1)
    assert cores.take("machine", there, 2) == (2, 3)
    assert cores.take("machine", [4], 2) == (4,)
    cores.give_back("machine", (0, 1))
    assert cores.take("machine", there, 2) == (0, 1)
    assert cores.take("machine", there, 3) == (0, 1, 2)  # more than there are: shared
