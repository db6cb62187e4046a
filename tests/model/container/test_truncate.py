import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.container.format import pack, truncate, unpack
from model.errors import FileError, LimitError, ParameterError
from model.types import Limits
from tests.model.container.files import HEADER, File, files, forge

LIMITS = Limits(max_pixels=2**34, max_dimension=2**17)
coded = files(profiles=["cwic", "cvpr2018"])


@given(coded, st.data())
def test_the_largest_file_that_fits_is_made(file: File, data: st.DataObject) -> None:
    whole = file.data
    smallest = len(file.first(file.header.required).data)
    limit = data.draw(st.integers(smallest, len(whole) + 3))
    cut = truncate(whole, limit)
    container = unpack(cut, limits=LIMITS)
    parts = len(container.payloads) + len(container.extensions)
    assert len(cut) <= limit
    assert cut == file.first(parts).data
    if parts < len(file.parts):
        assert len(file.first(parts + 1).data) > limit
    else:
        assert cut == whole


@pytest.mark.parametrize("tiles", range(19, 29))
def test_the_usual_number_of_payloads_fits_where_some_fewer_do_not(tiles: int) -> None:
    """Fewer payloads are said, in a varint of two bytes here; each without bytes saves one."""
    header = replace(HEADER, width=tiles * 256, height=1, tile=256)
    whole = File(header, (b"",) * header.usual, ((128, b"x" * 9), (129, b"y")))
    plain = whole.first(header.usual).data
    assert len(whole.first(header.usual - 1).data) > len(plain)
    for spare in range(3):
        assert truncate(whole.data, len(plain) + spare) == plain
    assert len(unpack(truncate(plain, len(plain) - 1), limits=LIMITS).payloads) == header.usual - 3


@given(coded, st.data())
def test_cutting_twice_is_cutting_once(file: File, data: st.DataObject) -> None:
    whole = file.data
    smallest = len(file.first(file.header.required).data)
    one = data.draw(st.integers(smallest, len(whole)))
    two = data.draw(st.integers(smallest, one))
    assert truncate(truncate(whole, one), two) == truncate(whole, two)
    assert len(truncate(whole, two)) <= len(truncate(whole, one))


@given(coded, st.data())
def test_what_cannot_fit_is_refused_with_the_size_that_can(file: File, data: st.DataObject) -> None:
    smallest = len(file.first(file.header.required).data)
    limit = data.draw(st.integers(-1, smallest - 1))
    with pytest.raises(ParameterError, match=f"cut to {limit} bytes, {smallest} are needed"):
        truncate(file.data, limit)
    assert len(truncate(file.data, smallest)) == smallest


def test_extensions_go_first_and_the_last_one_before_the_others() -> None:
    file = File(HEADER, (b"map", b"zero", b"one"), ((128, b"a" * 20), (200, b"b" * 20)))
    kept = [
        (len(container.payloads), len(container.extensions))
        for limit in range(len(file.data), len(file.first(2).data) - 1, -1)
        for container in [unpack(truncate(file.data, limit), limits=LIMITS)]
    ]
    assert list(dict.fromkeys(kept)) == [(3, 2), (3, 1), (3, 0), (2, 0)]


def test_lossless_files_lose_their_extensions_at_most() -> None:
    header = replace(HEADER, profile="lossless", model_id=b"", quality=0)
    plain, extended = pack(header, [b"samples"]), pack(header, [b"samples"], [(128, b"later")])
    assert truncate(extended, len(extended)) == extended
    assert truncate(extended, len(extended) - 1) == truncate(extended, len(plain)) == plain
    for data in (plain, extended):
        message = f"lossless file cannot be cut: {len(plain)} bytes are needed, {len(plain) - 1} allowed"
        with pytest.raises(ParameterError, match=re.escape(message)):
            truncate(data, len(plain) - 1)


def test_limits_hold_where_there_are_some() -> None:
    data = File(HEADER, (b"map", b"zero", b"one"), ()).data
    with pytest.raises(LimitError, match="max_dimension is 299, got 300"):
        truncate(data, len(data), limits=Limits(max_dimension=299))
    assert truncate(data, len(data), limits=Limits(max_dimension=300)) == data


@given(coded, st.data())
def test_damaged_files_are_not_cut(file: File, data: st.DataObject) -> None:
    whole = file.data
    with pytest.raises(FileError):
        truncate(whole[: data.draw(st.integers(0, len(whole) - 1))], len(whole))
    with pytest.raises(FileError):
        truncate(whole + b"\0", len(whole))
    with pytest.raises(FileError):
        truncate(forge(quality=1025), 100)
