"""What is wrong with the shape of a record."""

import pytest

from tfrec_stage.manifest.shape import shape_faults, without_nulls

GOOD = {"filename": "a.jpg", "id": "a"}


@pytest.mark.parametrize(
    ("record", "faults"),
    [
        pytest.param(GOOD, [], id="the least a record needs"),
        pytest.param(
            {}, ["`$` has no `filename`, which every record needs", "`$` has no `id`, which every record needs"]
        ),
        pytest.param({**GOOD, "object": {"boxes": {}}}, ["unknown key `$.object.boxes`: did you mean `bbox`?"]),
        pytest.param({**GOOD, "class": {"lable": 1}}, ["unknown key `$.class.lable`: did you mean `label`?"]),
        pytest.param(
            {**GOOD, "object": {"bbox": {"zzz": []}}},
            ["unknown key `$.object.bbox.zzz`: known are xmin, xmax, ymin, ymax, label, text, score, conf"],
            id="nothing near",
        ),
        pytest.param(
            {**GOOD, "object": {"bbox": {"xmin": [0.1, "x"]}}},
            ["Expected `float`, got `str` at `$.object.bbox.xmin[1]`"],
        ),
        pytest.param({**GOOD, "class": 3}, ["expected an object at `$.class`, but got a number"]),
        pytest.param([], ["expected an object at `$`, but got an array"]),
        pytest.param(
            {**GOOD, "class": {"label": "cat"}},
            ["Expected a label number, or a string of digits, but got 'cat' at `$.class`"],
        ),
        pytest.param({**GOOD, "sha256": "xyz"}, ["Expected `str` matching regex '^[0-9a-f]{64}$' at `$.sha256`"]),
    ],
)
def test_faults_name_path_and_cure(record: object, faults: list[str]) -> None:
    """Each fault says where it is, and a misspelt key what it may have meant."""
    assert [str(fault) for fault in shape_faults(record)] == faults


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "null"),
        (True, "true or false"),
        (3, "a number"),
        (1.5, "a number"),
        ("x", "a string"),
        ([], "an array"),
        (b"x", "a bytes"),
    ],
)
def test_what_stands_in_the_place_of_an_object(value: object, kind: str) -> None:
    """It is told by the name that JSON has for it."""
    assert [str(fault) for fault in shape_faults(value)] == [f"expected an object at `$`, but got {kind}"]


@pytest.mark.parametrize("encoded", [b"aaaa", "YWFhYQ=="])
def test_an_image_is_no_fault(encoded: object) -> None:
    """Neither as bytes nor as base64."""
    image = {"height": 1, "width": 1, "format": "JPEG", "colorspace": "RGB", "channels": 3}
    faults = shape_faults({**GOOD, **image, "encoded": encoded, "class": 3})
    assert [str(fault) for fault in faults] == ["expected an object at `$.class`, but got a number"]


@pytest.mark.parametrize(
    ("record", "stops_all"),
    [
        pytest.param([], True, id="no object"),
        pytest.param({"filename": "a"}, True, id="no id"),
        pytest.param({**GOOD, "id": []}, True, id="an id that is none"),
        pytest.param({**GOOD, "clas": {}}, True, id="unknown key"),
        pytest.param({**GOOD, "object": {"bbox": {"x": []}}}, True, id="unknown key deep within"),
        pytest.param({"id": "a"}, False, id="no file name"),
        pytest.param({**GOOD, "class": 3}, False, id="wrong type"),
        pytest.param({**GOOD, "object": {"bbox": {"xmin": ["x"]}}}, False, id="wrong type deep within"),
        pytest.param({**GOOD, "encoded": b"x"}, False, id="keys that are needed together"),
    ],
)
def test_what_is_misspelt_stops_all(record: object, stops_all: bool) -> None:
    """An unknown key and a record without an id put the manifest in doubt, all else its record alone."""
    faults = shape_faults(record)
    assert len(faults) == 1
    assert faults[0].stops_all is stops_all


def test_nulls_are_absent_values() -> None:
    """None stands for an absent value wherever a record has keys of its own, and for itself within `extra`."""
    record = {**GOOD, "class": None, "object": {"count": None, "bbox": None, "area": [None]}, "extra": {"a": None}}
    assert without_nulls(record) == {**GOOD, "object": {"area": [None]}, "extra": {"a": None}}
    assert without_nulls({**GOOD, "extra": None}) == {**GOOD, "extra": None}


def test_all_faults_are_told_at_once() -> None:
    """A record with several faults is told all of them."""
    record = {"filename": 1, "idd": "a", "object": {"boxes": {}, "area": ["x"]}}
    assert len(shape_faults(record)) == 5


def test_bytes_without_their_fields_are_refused() -> None:
    """`encoded` needs the five fields that describe it."""
    assert [str(fault) for fault in shape_faults({**GOOD, "encoded": b"x", "width": 1})] == [
        "`encoded` needs height, width, format, colorspace, channels as well, "
        "but height, format, colorspace, channels is absent at `$`"
    ]
