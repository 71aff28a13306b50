from slidenet.core.provenance import (
    canonical_json,
    cohort_identity,
    describe_difference,
    identity_hash,
)


def test_hash_ignores_order_and_sees_values():
    assert identity_hash({"a": 1, "b": [1, 2]}) == identity_hash({"b": [1, 2], "a": 1})
    assert identity_hash({"a": 1}) != identity_hash({"a": 2})
    assert identity_hash({"a": 1}) == "015abd7f5cc57a2d"


def test_canonical_json_has_one_spelling():
    assert canonical_json({"b": 0.5, "a": None}) == '{"a":null,"b":0.5}'


def test_difference_names_found_and_wanted():
    found, wanted = {"mpp": 0.5, "same": 1}, {"mpp": 1.0, "same": 1, "icc": True}
    assert describe_difference(found, wanted) == "icc: None -> True, mpp: 0.5 -> 1.0"


def test_cohort_recipe_leaves_out_what_belongs_to_one_slide():
    recipe = {"tiles": {"target_mpp": 0.5, "inputs": {"slide_mpp": 0.25}}, "inputs": {"x": 1}}
    assert cohort_identity(recipe) == {"tiles": {"target_mpp": 0.5}}
