"""No key reaches a log, a traceback or the message of an error."""

import logging
import subprocess
import sys

import pytest

from tasks.runtime.secrets import RedactingFilter, RedactingFormatter, redact, redacted_errors

KEY = "my-very-own-key-1234"


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"401 for {KEY}.", "401 for [hidden]."),
        ("key sk-abcdefghijk123 is wrong", "key [hidden] is wrong"),
        ("Authorization: Bearer abc.def.ghi123", "Authorization: Bearer [hidden]"),
        ("http://me:pass@host:80/v1", "http://[hidden]@host:80/v1"),
        ("hf_abcdefgh1234 and AKIAABCDEFGHIJKL", "[hidden] and [hidden]"),
        ("sub-01_ses-01 task-skip", "sub-01_ses-01 task-skip"),
    ],
)
def test_secrets_are_hidden_and_all_else_is_shown(text, shown):
    assert redact(text) == shown


def test_short_values_are_words(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    assert redact("none of them") == "none of them"


def record(exception=None):
    info = (type(exception), exception, None) if exception else None
    return logging.LogRecord("tasks", logging.INFO, "", 0, "with %s", (KEY,), info)


def test_log_lines_and_their_tracebacks_hide_secrets():
    line = RedactingFormatter("%(message)s").format(record(ValueError(f"bad {KEY}")))
    assert KEY not in line
    assert "with [hidden]" in line
    assert "ValueError: bad [hidden]" in line
    other = record()
    assert RedactingFilter().filter(other)
    assert other.getMessage() == "with [hidden]"


def test_errors_that_leave_a_stage_hide_secrets():
    with pytest.raises(ValueError, match=r"^refused: \[hidden\]$"), redacted_errors():
        raise ValueError(f"refused: {KEY}")


def test_uncaught_traceback_of_the_command_hides_secrets(repository):
    code = (
        "import os\nfrom tasks.__main__ import _keep_secrets\n_keep_secrets()\n"
        "raise ValueError('refused: ' + os.environ['OPENAI_API_KEY'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.endswith("ValueError: refused: [hidden]\n")
    assert KEY not in done.stderr
