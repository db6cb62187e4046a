"""Log lines in both forms."""

import json
import logging
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.observe import logs


@pytest.fixture
def record() -> logging.LogRecord:
    try:
        raise ValueError("broken")
    except ValueError as exc:
        info = (type(exc), exc, exc.__traceback__)
    made = logging.LogRecord("cwic.access", logging.INFO, "", 0, "GET %s", ("/x",), info)
    setattr(made, logs.FIELDS, {"status": 200, "stages_ms": {"read": 1.5}})
    return made


@pytest.mark.parametrize("current", ["", "r1"])
def test_a_json_line_is_one_object_with_numbers_as_numbers(record: logging.LogRecord, current: str) -> None:
    token = logs.request_id.set(current)
    text = logs.JsonFormatter().format(record)
    logs.request_id.reset(token)
    assert "\n" not in text
    line = json.loads(text)
    assert (line["level"], line["message"], line["status"]) == ("info", "GET /x", 200)
    assert line["stages_ms"] == {"read": 1.5}
    assert "ValueError: broken" in line["exception"]
    assert line.get("request_id", "") == current
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])


@given(value=st.text())
@example("192.0.2.1 status=200")
@example('"quoted"')
@example("line\nbreak\u2028\x1b[2J")
def test_a_field_is_one_word_on_the_console_whatever_is_in_it(value: str) -> None:
    record = logging.LogRecord("cwic.access", logging.INFO, "", 0, "GET /", (), None)
    setattr(record, logs.FIELDS, {"client": value, "status": 404})
    line = logs.ConsoleFormatter().format(record)
    field = line.partition(" client=")[2].removesuffix(" status=404")
    assert line.isprintable()
    assert (json.loads(field) if field.startswith('"') else field) == value
    if not field.startswith('"'):
        assert not set(field) & set(' ="\\')


def test_a_console_line_has_the_fields_behind_the_message(record: logging.LogRecord) -> None:
    token = logs.request_id.set("r1")
    first, *rest = logs.ConsoleFormatter().format(record).splitlines()
    logs.request_id.reset(token)
    assert first.endswith("INFO    GET /x status=200 stages_ms=\"{'read': 1.5}\" request_id=r1")
    assert rest[-1] == "ValueError: broken"
