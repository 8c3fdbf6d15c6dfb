"""Logs are one object a line, carry bound ids and never a secret."""

import io
import json
import logging

import pytest
import structlog

from sep_ray.logs import HIDDEN, configure


@pytest.fixture
def lines():
    out = io.StringIO()
    root = logging.getLogger()
    before = (root.handlers, root.level)
    configure("json", "info", out)
    yield lambda: [json.loads(line) for line in out.getvalue().splitlines()]
    root.handlers, level = before
    root.setLevel(level)
    structlog.reset_defaults()


def test_one_json_object_a_line_with_bound_ids(lines):
    with structlog.contextvars.bound_contextvars(intent_id="i-1"):
        structlog.get_logger("router").info("intent_ranked", score=3)
    structlog.get_logger().debug("below_the_level")
    (line,) = lines()
    assert line["event"] == "intent_ranked"
    assert line["intent_id"] == "i-1"
    assert line["score"] == 3
    assert line["level"] == "info"
    assert line["timestamp"].endswith("Z")


def test_libraries_speak_the_same_form(lines):
    logging.getLogger("library").warning("%s is slow", "reading")
    (line,) = lines()
    assert (line["event"], line["logger"], line["level"]) == (
        "reading is slow",
        "library",
        "warning",
    )


@pytest.mark.parametrize("name", ["jwt_secret", "token", "password", "private_key", "raw"])
def test_telling_names_hide_their_values(lines, name):
    structlog.get_logger().info("started", **{name: "abcdef", "outer": {name: "abcdef"}})
    (line,) = lines()
    assert line[name] == HIDDEN
    assert line["outer"] == {name: HIDDEN}


def test_secrets_inside_texts_are_hidden(lines):
    structlog.get_logger().info(
        "connected",
        url="postgresql://sep:hunter2@127.0.0.1/sep",
        header="Bearer abc.def.ghi",
        seen=["eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln"],
    )
    text = json.dumps(lines())
    assert "hunter2" not in text
    assert "abc.def" not in text
    assert "eyJ" not in text


def test_an_error_keeps_its_traceback(lines):
    try:
        raise ValueError("wrong")
    except ValueError:
        structlog.get_logger().exception("turn_failed")
    (line,) = lines()
    assert line["exception"][0]["exc_type"] == "ValueError"


def test_what_cannot_be_written_as_json_is_written_as_text(lines):
    structlog.get_logger().info("odd", sizes={(1, 2): 3}, name="\ud800")
    (line,) = lines()
    assert line["sizes"] == "{(1, 2): 3}"


@pytest.mark.parametrize("error", [OSError("no space left"), ValueError("closed file")])
def test_a_line_that_cannot_be_written_stops_nobody(lines, error):
    class Full(io.StringIO):
        def write(self, text):
            raise error

    configure("json", "info", Full())
    structlog.get_logger().info("started")
