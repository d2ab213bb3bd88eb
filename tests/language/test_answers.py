"""Answers as servers send them: kept as they came, read as far as they can be, paid for within the cap."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.language.cache import CaptionCacheError
from tasks.language.captioners import ledger as ledger_module
from tasks.language.captioners.chat import Completion, Form, legible, read_answer
from tasks.language.captioners.sending import FIRST, USELESS, CaptionBudgetError
from tasks.language.captioners.server import CaptionServerError
from tasks.language.prompts import KIND_NAMES
from tasks.runtime.files import fingerprint
from tests.chat_server import ChatServer, Say, completion, failure, good, text_of
from tests.language.asking import picture

NAMES = list(KIND_NAMES)
TEXTS = {name: f"the {name} of “this” picture, and more" for name in NAMES}
WHOLE = json.dumps(TEXTS, ensure_ascii=False, indent=1)
WRAPPED = {
    "as asked": WHOLE,
    "fence": f"```json\n{WHOLE}\n```",
    "sentence": f"Here are the captions:\n{WHOLE}\nI hope that helps {{}}!",
    "thoughts": f'<think>First {{"ObjectSnap": "a draft"}}.</think>\n{WHOLE}',
    "trailing comma": WHOLE.removesuffix("\n}") + ",\n}",
    "single line": WHOLE.replace("\n", ""),
}


@pytest.mark.parametrize("said", WRAPPED.values(), ids=WRAPPED.keys())
@pytest.mark.parametrize("ended", ["stop", "length", ""])
def test_captions_are_found_in_whatever_they_come(said: str, ended: str) -> None:
    replies = read_answer(said, ended, NAMES)
    assert {name: reply.text for name, reply in replies.items()} == TEXTS
    assert {reply.status for reply in replies.values()} == {"ok"}


@given(st.integers(0, len(WHOLE)))
def test_of_an_answer_that_was_cut_only_whole_captions_count(length: int) -> None:
    replies = read_answer(WHOLE[:length], "length", NAMES)
    for name, reply in replies.items():
        assert (reply.text, reply.status) in [(TEXTS[name], "ok"), ("", "truncated")]


@given(st.text(), st.sampled_from(["", "stop", "length", "content_filter", "refusal"]))
def test_no_answer_breaks_the_reader_and_every_caption_can_be_printed(
    said: str, ended: str
) -> None:
    wrapped = json.dumps({"ObjectSnap": said})
    for text in (said, wrapped):
        replies = read_answer(text, ended, NAMES)
        assert list(replies) == NAMES
        for reply in replies.values():
            assert "\n" not in reply.text
            assert not {unicodedata.category(letter)[0] for letter in reply.text} & {"C"}
            reply.text.encode()


def test_marks_that_turn_text_around_are_taken_out() -> None:
    assert legible("a \u202egod\u202c\x1b[31m dog\ud800\tnow") == "a god [31m dog now"


@pytest.mark.parametrize(
    "usage",
    [
        None,
        [],
        "many",
        {"prompt_tokens": None, "completion_tokens": 1.5},
        {"prompt_tokens": -5, "completion_tokens": "3"},
        {"prompt_tokens": 1e300, "completion_tokens": True},
    ],
)
def test_a_strange_count_of_tokens_voids_no_answer_and_makes_no_money(usage: object) -> None:
    found = Completion.model_validate({"choices": [{"message": {"content": "{}"}}], "usage": usage})
    counted = found.usage.prompt_tokens, found.usage.completion_tokens
    assert all(count is None or 0 <= count < 10**8 for count in counted)


def test_content_in_parts_is_one_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}, 3]
    found = Completion.model_validate({"choices": [{"message": {"content": parts}}]})
    assert found.choices[0].said == "ab"


@pytest.fixture
def pictures(tmp_path):
    return [picture(tmp_path, f"s-{number}", colour=(number, 0, 0)) for number in range(8)]


def with_usage(say: Say, usage: object) -> Say:
    say.body["usage"] = usage
    return say


def test_a_better_reader_finds_more_in_old_answers_and_nobody_is_asked(
    build, pictures, monkeypatch
):
    def odd(_, ask):
        return completion(str({kind: text_of(kind, ask.picture) for kind in ask.kinds}))  # Python

    def better(said, ended, kinds):
        found = json.loads(said.replace("'", '"'))
        return read_answer(json.dumps(found), ended, kinds)

    with ChatServer(odd) as server:
        captioner = build(server)
        assert {c.status for c in captioner.describe(pictures[:1])} == {"invalid"}
        monkeypatch.setattr(ledger_module, "read_answer", better)
        captions = captioner.describe(pictures[:1])
    assert {c.status for c in captions} == {"ok"}
    assert len(server.asks) == 1


@pytest.mark.parametrize(("counts", "cap_usd"), [(True, 0.11), (False, 0.012)])
def test_many_requests_at_once_never_pass_the_cap_by_more_than_one_answer(
    build, pictures, counts, cap_usd
):
    """An answer costs forty times what is guessed of it; or the server does not count at all."""
    dear = {"prompt_tokens": 40_000, "completion_tokens": 0} if counts else None

    def answer(_, ask):
        return with_usage(good(ask), dear)

    with ChatServer(answer) as server:
        captioner = build(server, max_cost_usd=cap_usd, max_concurrency=16)
        with pytest.raises(CaptionBudgetError) as error:
            captioner.describe(pictures)
        paid = captioner.ledger.paid_usd(pictures)
        n_asked = len(server.asks)
    assert 0 < n_asked < len(pictures)
    assert sum(paid) <= cap_usd + max(paid)
    assert "of which" in str(error.value)


@pytest.mark.parametrize(
    ("refused", "words", "form"),
    [
        ("max_completion_tokens", "Unknown field: max_completion_tokens", Form(limit="max_tokens")),
        ("json_schema", "response_format json_schema is not supported", Form(schema="json_object")),
        ("response_format", "extra field response_format", Form(schema="none")),
    ],
)
def test_a_request_is_put_in_the_form_that_the_server_takes(build, pictures, refused, words, form):
    def strict(_, ask):
        return failure(400, words) if refused in json.dumps(ask.body) else good(ask)

    with ChatServer(strict) as server:
        captions = build(server).describe(pictures)
    assert {c.status for c in captions} == {"ok"}
    (last,) = {
        json.dumps(ask.body.get("response_format", {}).get("type")) for ask in server.asks[-3:]
    }
    assert last == json.dumps({"none": None}.get(form.schema, form.schema))
    assert form.limit in server.asks[-1].body
    assert len(server.asks) <= len(pictures) + 2


def test_a_request_that_the_server_does_not_take_is_not_blamed_on_every_picture(build, pictures):
    with (
        ChatServer(lambda *_: failure(400, "this model cannot see images")) as server,
        pytest.raises(CaptionServerError, match="this model cannot see images"),
    ):
        build(server).describe(pictures)
    assert len(server.asks) == FIRST


@pytest.mark.parametrize("status", [402, 405, 410, 425, 451])
def test_what_will_not_change_is_asked_once(build, pictures, status):
    with (
        ChatServer(lambda *_: failure(status, "go away")) as server,
        pytest.raises(CaptionServerError, match="go away"),
    ):
        build(server).describe(pictures)
    assert len(server.asks) == 1


def test_a_quota_that_is_spent_is_final_whatever_the_code_says(build, pictures):
    spent = Say({"error": {"message": "no", "type": "insufficient_quota"}}, 429, bill=False)
    with (
        ChatServer(lambda *_: spent) as server,
        pytest.raises(CaptionServerError, match="must have quota left"),
    ):
        build(server).describe(pictures)
    assert len(server.asks) == 1


def test_answers_that_are_all_useless_are_not_paid_for_to_the_end(build, pictures):
    with ChatServer(lambda *_: completion("42")) as server:
        captioner = build(server, max_concurrency=1, max_answers=1)
        with pytest.raises(CaptionServerError, match=r"none of the first 5 .* it begins '42'"):
            captioner.describe(pictures)
    assert USELESS <= len(server.asks) <= USELESS + 1


def test_an_answer_of_a_newer_version_is_kept(build, pictures):
    with ChatServer() as server:
        captioner = build(server)
        captioner.describe(pictures[:1])
    (path,) = captioner.ledger.cache.folder.glob("??/*/[!.]*.json")
    content = json.loads(path.read_bytes()) | {"voice": "calm"}
    del content["checksum"]
    path.write_text(json.dumps(content | {"checksum": fingerprint(content)}))
    with pytest.raises(CaptionCacheError, match=r"Update Percept: .* keep the file"):
        captioner.describe(pictures[:1])


def test_answers_from_before_they_were_kept_as_they_came_are_read(build, pictures):
    with ChatServer() as server:
        captioner = build(server)
        before = captioner.describe(pictures[:1])
    (path,) = captioner.ledger.cache.folder.glob("??/*/[!.]*.json")
    content = json.loads(path.read_bytes())
    for name in ("said", "ended", "checksum"):
        del content[name]
    del content["usage"]["guessed"]
    path.write_text(json.dumps(content | {"checksum": fingerprint(content)}))
    assert captioner.describe(pictures[:1]) == before
