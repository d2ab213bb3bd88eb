"""Captions through a batch service: submit, poll and collect, each resumable, nothing asked twice."""

import json

import pytest

from tasks.language.cache import CaptionCache
from tasks.language.captioners.batch import CaptionsUnderWayError, OpenAIBatchCaptioner
from tasks.language.captioners.batch_files import Limits
from tasks.language.captioners.ledger import Ledger
from tasks.language.captioners.params import OpenAIParams
from tasks.language.captioners.sending import CaptionBudgetError
from tasks.language.captioners.server import CaptionServerError
from tests.chat_server import KEY, ChatServer, completion, failure, good
from tests.language.asking import OPENAI, picture


@pytest.fixture
def pictures(tmp_path):
    return [picture(tmp_path, f"s-{number}", colour=(number, 0, 0)) for number in range(6)]


@pytest.fixture
def build(tmp_path, monkeypatch):
    """A captioner of a server; params by keyword."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def build(server, limits=None, **changes):
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        params = OpenAIParams.model_validate(OPENAI | {"max_retries": 0} | changes)
        cache = CaptionCache(tmp_path / "cache")
        return OpenAIBatchCaptioner(Ledger(params, 77, cache), limits or Limits())

    return build


def test_submit_poll_and_collect_bring_every_caption_once_at_half_the_price(build, pictures):
    with ChatServer() as server:
        captioner = build(server)
        (batch,) = captioner.submit(pictures)
        assert [status.status for status in captioner.poll()] == ["in_progress"]
        assert captioner.collect() == 0
        server.batches.run()
        assert captioner.collect() == 6
        assert captioner.collect() == 0
        captions = captioner.describe(pictures)
    assert {c.status for c in captions} == {"ok"}
    assert {c.source for c in captions} == {"openai_batch"}
    assert server.billed == {p.sha256: 1 for p in pictures}
    assert sum(captioner.ledger.paid_usd(pictures)) == pytest.approx(6 * 190e-6 / 2)
    assert captioner.files.open_files("test-model") == []
    assert not captioner.files.path_of(batch).exists()


def test_the_stage_says_what_is_under_way_and_submits_nothing_twice(build, pictures):
    with ChatServer() as server:
        for _ in range(2):
            with pytest.raises(CaptionsUnderWayError) as error:
                build(server).describe(pictures)
        assert len(server.batches.batches) == 1
        server.batches.run()
        captions = build(server).describe(pictures)
    assert {c.status for c in captions} == {"ok"}
    assert str(error.value) == (
        "All batches must be answered; 1 are under way (6 requests). Run the stage again later; "
        "`percept captions poll` says how far they are."
    )


@pytest.mark.parametrize(
    "limits", [Limits(max_requests=2), Limits(max_bytes=9000)], ids=["requests", "bytes"]
)
def test_files_are_split_where_the_service_takes_no_more(build, pictures, limits):
    with ChatServer() as server:
        captioner = build(server, limits)
        batches = captioner.submit(pictures)
        files = list(server.batches.files.values())
        server.batches.run()
        captions = captioner.describe(pictures)
    assert len(batches) == len(files) > 1
    assert all(len(f) <= limits.max_bytes for f in files)
    assert all(len(f.splitlines()) <= limits.max_requests for f in files)
    assert {c.status for c in captions} == {"ok"}
    assert server.billed == {p.sha256: 1 for p in pictures}


def test_what_an_expired_batch_left_out_is_submitted_again(build, pictures):
    with ChatServer() as server:
        server.batches.end = lambda _: ("expired", 4)
        captioner = build(server)
        captioner.submit(pictures)
        server.batches.run()
        assert captioner.collect() == 4
        server.batches.end = lambda _: ("completed", 99)
        (again,) = captioner.submit(pictures)
        assert len(again.requests) == 2
        server.batches.run()
        captions = captioner.describe(pictures)
    assert {c.status for c in captions} == {"ok"}
    assert server.billed == {p.sha256: 1 for p in pictures}


def test_a_batch_that_expired_whole_is_not_taken_for_its_successor(build, pictures):
    with ChatServer() as server:
        server.batches.end = lambda _: ("expired", 0)
        captioner = build(server)
        captioner.submit(pictures)
        server.batches.run()
        captioner.collect()
        server.batches.end = lambda _: ("completed", 99)
        captioner.submit(pictures)
        assert len(server.batches.batches) == 2
        server.batches.run()
        assert captioner.collect() == 6


def test_requests_that_failed_alone_are_submitted_again_and_rejected_ones_have_their_status(
    build, pictures
):
    def script(server, ask):
        if ask.picture == pictures[0].sha256:
            return failure(400)
        if ask.picture == pictures[1].sha256 and server.seen(ask.picture) == 1:
            return failure(500)
        return good(ask)

    with ChatServer(script) as server:
        captioner = build(server)
        captioner.submit(pictures)
        server.batches.run()
        with pytest.raises(CaptionsUnderWayError, match=r"\(1 requests\)"):
            captioner.describe(pictures)
        server.batches.run()
        captions = captioner.describe(pictures)
    statuses = {c.stimulus_id: c.status for c in captions}
    assert statuses == {"s-0": "rejected"} | {f"s-{n}": "ok" for n in range(1, 6)}


def test_a_kill_between_the_service_and_our_note_of_it_submits_nothing_twice(
    build, pictures, monkeypatch
):
    with ChatServer() as server:
        captioner = build(server)
        write = type(captioner.files).write

        def killed(self, batch):
            if batch.state == "submitted":
                raise KeyboardInterrupt
            write(self, batch)

        with monkeypatch.context() as patched:
            patched.setattr(type(captioner.files), "write", killed)
            with pytest.raises(KeyboardInterrupt):
                captioner.submit(pictures)
        (batch,) = build(server).submit(pictures)
    assert len(server.batches.batches) == 1
    assert batch.batch_id == "batch_0"


def test_a_kill_while_collecting_keeps_each_answer_once(build, pictures, monkeypatch):
    with ChatServer() as server:
        captioner = build(server)
        captioner.submit(pictures)
        server.batches.run()
        write, written = CaptionCache.write, []

        def killed(self, *entry):
            if len(written) == 3:
                raise KeyboardInterrupt
            written.append(entry)
            write(self, *entry)

        with monkeypatch.context() as patched:
            patched.setattr(CaptionCache, "write", killed)
            with pytest.raises(KeyboardInterrupt):
                captioner.collect()
        assert captioner.collect() == 3
    assert all(len(captioner.ledger.cache.read(p.sha256, "test-model")) == 1 for p in pictures)


def test_a_batch_that_the_service_does_not_take_is_an_error_and_is_not_lost(build, pictures):
    with ChatServer() as server:
        captioner = build(server)
        captioner.submit(pictures)
        reason = {"code": "x", "message": "the model is unknown"}
        server.batches.batches["batch_0"] |= {"status": "failed", "errors": {"data": [reason]}}
        with pytest.raises(CaptionServerError) as error:
            captioner.collect()
        assert len(captioner.submit(pictures)) == 1
    assert str(error.value) == (
        "The batch service must take the requests; it did not take batch_0 (the model is unknown). "
        "Mend it in caption.openai or with the service, then run the stage again."
    )


def test_the_same_lines_go_through_vllm_run_batch(build, pictures, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with ChatServer() as server:
        captioner = build(server)
        (batch,) = captioner.prepare(pictures)
        requests = [
            json.loads(line) for line in captioner.files.path_of(batch).read_text().splitlines()
        ]
        for part, chosen in enumerate((requests[:2], requests[2:] + requests[:1])):
            out = tmp_path / f"out-{part}.jsonl"
            lines = [
                {
                    "id": "vllm-1",
                    "custom_id": request["custom_id"],
                    "response": {
                        "status_code": 200,
                        "request_id": "vllm-batch-1",
                        "body": server.answer(request["body"], f"Bearer {KEY}").body,
                    },
                    "error": None,
                }
                for request in chosen
            ]
            out.write_text("\n".join(json.dumps(line) for line in lines))
            assert captioner.collect_file(out) == (2, 4)[part]
        captions = captioner.describe(pictures)
    assert {request["url"] for request in requests} == {"/v1/chat/completions"}
    assert {c.status for c in captions} == {"ok"}
    assert server.batches.batches == {}


def test_a_file_that_is_no_output_is_named(build, tmp_path):
    out = tmp_path / "out.jsonl"
    out.write_text('{"half": ')
    with ChatServer() as server, pytest.raises(CaptionServerError) as error:
        build(server).collect_file(out)
    assert str(error.value) == (
        f"{out}, line 1 must be an answer of a batch; it cannot be read. Fetch the file again."
    )


def test_a_batch_beyond_the_budget_is_not_sent(build, pictures):
    with ChatServer() as server, pytest.raises(CaptionBudgetError) as error:
        build(server, max_cost_usd=0.001).submit(pictures)
    assert server.batches.files == {}
    assert str(error.value).startswith(
        "caption.openai.max_cost_usd must pay for every request of a batch; 6 may cost 0.02 USD "
        "beside 0.00 that are spent, which is more than 0.001."
    )


def test_unusable_answers_go_into_another_batch_while_answers_are_left(build, pictures):
    def improve(server, ask):
        refused = completion(None, refusal="No.")
        return refused if server.seen(ask.picture) == 1 else good(ask)

    with ChatServer(improve) as server:
        captioner = build(server, max_answers=2)
        for _ in range(2):
            with pytest.raises(CaptionsUnderWayError):
                captioner.describe(pictures)
            server.batches.run()
        captions = captioner.describe(pictures)
    assert {c.status for c in captions} == {"ok"}


def test_a_service_without_a_key_or_with_a_wrong_one_is_said(build, pictures, monkeypatch):
    with ChatServer() as server:
        captioner = build(server)
        monkeypatch.delenv("OPENAI_API_KEY")
        with pytest.raises(CaptionServerError, match="OPENAI_API_KEY must hold the key"):
            captioner.submit(pictures)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(CaptionServerError, match="must be reachable"):
        captioner.submit(pictures)
