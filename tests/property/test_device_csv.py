"""Devices as CSV lines: exactly back, and nothing that a spreadsheet would compute."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager_api.core import device_csv

pytestmark = pytest.mark.property

text = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=30) | st.sampled_from(
    ["=1+1", "+x", "-x", "@x", "'", "''x", "'=x", '"', ",", ";", " x ", "\t=x", "\rx", ""]
)
nic = st.fixed_dictionaries(
    {"type": st.sampled_from(["wifi", "=eth", "'x"]), "mac": st.sampled_from(["", "12:34:56:78:9a:bc"]), "ipv4": st.sampled_from(["", "10.0.0.1"])}
)  # fmt: skip
device = st.fixed_dictionaries({
    "name": text, "type": text, "status": text,
    "hardware": st.fixed_dictionaries({"model": text, "sn": text}),
    "software": st.fixed_dictionaries({"version": text, "last_update": text}),
    "nic": st.lists(nic, max_size=3),
})  # fmt: skip


@given(st.lists(device, max_size=4))
def test_round_trip_is_exact_and_no_cell_is_a_formula(found):
    out = io.StringIO(newline="")
    csv.writer(out).writerows(device_csv.row({"id": f"123456789{n}", **each}) for n, each in enumerate(found))
    rows = list(csv.reader(io.StringIO(out.getvalue(), newline="")))
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert [device_csv.read(row) for row in rows] == [(f"123456789{n}", each) for n, each in enumerate(found)]


def test_one_apostrophe_is_stripped_and_no_more():
    assert device_csv.guarded("=A1") == "'=A1"
    assert device_csv.guarded("'quoted") == "''quoted"
    assert (device_csv.plain("'=A1"), device_csv.plain("''quoted"), device_csv.plain("x'")) == (
        "=A1",
        "'quoted",
        "x'",
    )


@pytest.mark.parametrize(
    ("cells", "says"),
    [(["x"], "1 cells"), ([*"abcdefg", "wifi;eth", "", "", "on"], "do not fit together")],
)
def test_what_is_no_line_says_why(cells, says):
    with pytest.raises(ValueError, match=says):
        device_csv.read(cells)


def test_a_line_that_nobody_touched_says_nothing():
    one = {"id": "1", "name": "a", "type": "t", "hardware": {"model": "m", "sn": "s", "cores": 4},
           "software": {"version": "1", "last_update": ""}, "nic": [], "status": "online"}  # fmt: skip
    said = device_csv.read(device_csv.row(one))[1]
    assert device_csv.differing(one, said) == {}
    said["hardware"]["sn"] = "z"
    assert device_csv.differing(one, {**said, "name": "b"}) == {"name": "b", "hardware": {"sn": "z"}}
