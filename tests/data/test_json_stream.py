"""The stream reads what json.loads reads, wherever its window happens to end."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import pytest

from human_edge_detection.data import json_stream
from human_edge_detection.data.json_stream import SKIM, JsonStream

ODD = [
    '{"a":[1,2,3],"b":"text"}',
    ' \n\t{ "a" : [ 1 , [ ] , { } , [ [ 2 ] ] ] ,\r\n "b" : { "a" : [ "]" , "}" , "," ] } } \n ',
    '{"esc":"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00\\ud800","a":["\\u005d",","]}',
    '{"été":["日本語","😀",{"ключ":"значение"}],"a":[1]}',
    '{"a":[NaN,Infinity,-Infinity,1e308,1e400,-0.0,1.5E-30,12345678901234567890123]}',
    '{"a":[],"b":[ ],"c":{},"d":null,"e":true,"f":false,"g":-12.5e-3,"h":0}',
    '{"a":[1],"a":[2,3],"b":1,"b":[4]}',
    '{"a":[{"x":1,"x":2},{"y":[{"z":[]}]}]}',
    "{}",
    " { } ",
    '{"a":[[[[[[[[[[1]]]]]]]]]],"' + "k" * 300 + '":["' + "v" * 300 + '", 1]}',
    '{"long":[' + ",".join(str(10**n) for n in range(60)) + "]}",
]
BROKEN = [
    "", " ", "{", '{"a"', '{"a":', '{"a":[', '{"a":[1', '{"a":[1,', '{"a":[1,]}', '{"a":[1 2]}',
    '{"a":[1]', '{"a":[1]}}', '{"a":[1]} x', '{"a" [1]}', '{"a":[1] "b":2}', "{a:1}", '{"a":tru}',
    '{"a":[01]}', '{"a":[1.]}', '{"a":"\\x"}', '{"a":"\\u12"}', '{"a":"line\nbreak"}', "{1:2}",
    '{"a":["unterminated]}', "{,}", '{"a":[,1]}', '{"a":[1],}',
]  # fmt: skip
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-32-le")


def streamed(data: bytes) -> dict[str, Any]:
    """The file read member by member; each element must stand in the bytes where it is said to."""
    stream = JsonStream(io.BytesIO(data))
    content: dict[str, Any] = {}
    for key in stream.members():
        if stream.peek() == "[":
            content[key] = []
            for value, start, stop in stream.elements():
                assert same(value, json.loads(data[start:stop]))
                content[key].append(value)
        else:
            content[key] = stream.value()
    stream.take("")
    return content


def same(one: Any, other: Any) -> bool:
    """Equality by which NaN is NaN and 1 is not 1.0."""
    return repr(one) == repr(other)


@pytest.fixture(params=[1, 2, 3, 7, 64, 1 << 20])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(json_stream, "BLOCK_BYTES", request.param)
    return int(request.param)


@pytest.mark.parametrize("text", ODD)
def test_odd_files_read_as_json_reads_them(text: str, block: int) -> None:
    for encoding in ENCODINGS:
        data = text.encode(encoding)
        assert same(streamed(data), json.loads(data)), encoding


@pytest.mark.parametrize("text", BROKEN)
def test_what_json_refuses_is_refused(text: str, block: int) -> None:
    with pytest.raises(ValueError):
        json.loads(text)
    with pytest.raises(ValueError):
        streamed(text.encode())


def test_every_truncation_is_refused(block: int) -> None:
    data = ODD[2].encode() + b" " + b"\n"
    for end in range(len(data) - 2):
        with pytest.raises(ValueError):
            streamed(data[:end])


def test_half_a_character_is_refused(block: int) -> None:
    data = '{"a":["é'.encode()
    for broken in (data[:-1], data[:-1] + b'"]}'):
        with pytest.raises(ValueError):
            streamed(broken)


def test_the_place_of_a_fault_is_told_in_bytes(block: int) -> None:
    with pytest.raises(ValueError, match="at byte 12$"):
        streamed('{"é":[1,22 3]}'.encode())


def test_skimming_sees_the_structure_and_no_fractions() -> None:
    stream = JsonStream(io.BytesIO(b'[{"id":7,"area":1.5,"name":"x","box":[1,2.0]},NaN]'))
    record, constant = [value for value, _, _ in stream.elements(SKIM)]
    assert record == {"id": 7, "area": None, "name": "x", "box": [1, None]}
    assert math.isnan(constant)


def test_skipping_passes_over_whatever_comes(block: int) -> None:
    stream = JsonStream(io.BytesIO(b'{"a":[1,{"b":[2.5]}],"c":{"d":"]"},"e":"f","g":5}'))
    for key in stream.members():
        if key == "g":
            assert stream.value() == 5
        else:
            stream.skip()


def test_the_window_stays_small() -> None:
    element = b'{"polygon":[' + b"1.5," * 50 + b"1]}"
    data = b'{"a":[' + b",".join([element] * 40_000) + b"]}"
    stream = JsonStream(io.BytesIO(data))
    largest = 0
    for _ in stream.members():
        for _ in stream.elements(SKIM):
            largest = max(largest, len(stream._text))
    assert largest < 3 * json_stream.BLOCK_BYTES < len(data)
