"""The class map: what it refuses, and how it says that two maps differ."""

import json

import pytest

from striate.data import ClassMap
from striate.errors import InputError


def test_names_and_indices():
    classes = ClassMap(["cat", "dog", "owl"])
    assert (len(classes), list(classes), classes.names) == (3, ["cat", "dog", "owl"], ("cat", "dog", "owl"))
    assert [classes.index(name) for name in classes] == [0, 1, 2]
    assert "dog" in classes
    assert "cow" not in classes


def test_goes_through_json():
    classes = ClassMap(["Ankle boot", "T-shirt/top", "猫"])
    assert ClassMap.from_json(json.loads(json.dumps(classes.to_json()))) == classes


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "class map: expected at least one class, got none"),
        ("cat", "class map: expected a list of non-empty names, got 'cat'"),
        (["cat", ""], "class map: expected a list of non-empty names, got ['cat', '']"),
        (["cat", 3], "class map: expected a list of non-empty names, got ['cat', 3]"),
        (["cat", "dog", "cat"], "class map: each class must be named once, 'cat' is there more than once"),
    ],
)
def test_refuses_what_is_no_class_map(names, message):
    with pytest.raises(InputError) as caught:
        ClassMap(names)
    assert str(caught.value) == message


def test_refuses_json_of_another_kind():
    with pytest.raises(InputError, match=r"expected a list of names, got \{'names': 3\}"):
        ClassMap.from_json({"names": 3})


def test_an_unknown_name_gets_the_closest_one():
    with pytest.raises(InputError, match=r"^no class 'dandelionn'; did you mean 'dandelion'\?$"):
        ClassMap(["daisy", "dandelion"]).index("dandelionn")


def test_the_same_map_is_accepted():
    ClassMap(["cat", "dog"]).require_same(ClassMap(("cat", "dog")), "the copy")


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (["cat"], "missing 'dog', 'owl'"),
        (["cat", "cow", "dog", "owl"], "unknown 'cow'"),
        (["cat", "cow", "dog"], "missing 'owl'; unknown 'cow'"),
        (["cat", "owl", "dog"], "the order differs from class 1 on ('dog' expected, 'owl' found)"),
        (["cat", "dog", "owl", *"abcdefg"], "unknown 'a', 'b', 'c', 'd', 'e' and 2 more"),
    ],
)
def test_a_difference_is_named(other, difference):
    with pytest.raises(InputError) as caught:
        ClassMap(["cat", "dog", "owl"]).require_same(ClassMap(other), "pictures/")
    assert str(caught.value) == f"the classes of pictures/ are not the 3 that were expected: {difference}"
