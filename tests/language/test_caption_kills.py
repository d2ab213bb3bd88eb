"""SIGKILL at 20 random moments: what was paid for is never asked for again."""

import math
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.language.cache import CaptionCache
from tasks.language.captioners.ledger import Ledger
from tasks.language.captioners.openai import OpenAICaptioner
from tasks.language.captioners.params import OpenAIParams
from tasks.language.captioners.sending import WORKERS_PER_SLOT
from tests.chat_server import KEY, ChatServer, broken, failure, good
from tests.conftest import REPOSITORY
from tests.language.asking import OPENAI, picture

N_KILLS, N_PICTURES, CONCURRENCY = 20, 400, 4
FAULTS = (failure(500), failure(529, retry_after="0.05"), broken("half"), broken("nothing"))
pytestmark = pytest.mark.slow
NURSERY = """
import os, pickle, sys
captioner, stimuli = pickle.loads(bytes.fromhex(sys.argv[1]))
import openai
from tasks.language import checks
checks.is_foreign("everything is imported before the first child is born")
for line in sys.stdin:
    child = os.fork()
    if not child:
        try:
            captioner.describe(stimuli)
        finally:
            os._exit(0)
    print(child, flush=True)
    os.waitpid(child, 0)
    print("gone", flush=True)
"""


@pytest.fixture
def captioner(tmp_path):
    params = OpenAIParams.model_validate(OPENAI | {"max_concurrency": CONCURRENCY})
    return OpenAICaptioner(Ledger(params, 77, CaptionCache(tmp_path / "cache")))


def test_twenty_kills_cost_no_more_than_what_was_under_way(captioner, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    pictures = [
        picture(tmp_path, f"k-{n}", colour=(n % 256, n // 256, 0)) for n in range(N_PICTURES)
    ]
    unlucky = {p.sha256: FAULTS[n % len(FAULTS)] for n, p in enumerate(pictures[::10])}
    dice = random.Random(7)

    def slowly(server, ask):
        time.sleep(0.01)
        fault = unlucky.get(ask.picture)
        return fault if fault and server.seen(ask.picture) == 1 else good(ask)

    with ChatServer(slowly) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        task = pickle.dumps((captioner, pictures)).hex()
        with subprocess.Popen(
            [sys.executable, "-c", NURSERY, task], cwd=REPOSITORY, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        ) as nursery:  # fmt: skip
            under_way = 0
            for _ in range(N_KILLS):
                answered = kill_one(nursery, server, dice)
                lost = answered - len(entries(captioner)) - under_way
                assert 0 <= lost <= math.ceil(CONCURRENCY * WORKERS_PER_SLOT)
                under_way += lost
            nursery.stdin.close()
        n_kept = len(entries(captioner))
        captions = captioner.describe(pictures)
    assert {caption.status for caption in captions} == {"ok"}
    assert 0 < n_kept < N_PICTURES, "the kills must fall into the work"
    assert server.billed.total() == N_PICTURES + under_way
    assert all(server.billed[p.sha256] >= 1 for p in pictures)
    assert all(server.seen(picture) > 1 for picture in unlucky)
    assert len(entries(captioner)) == N_PICTURES  # a kill leaves no half entry and no second one


def entries(captioner: OpenAICaptioner) -> list[Path]:
    """Return the answers that were kept."""
    return [p for p in captioner.ledger.cache.folder.rglob("*.json") if not p.name.startswith(".")]


def kill_one(nursery: subprocess.Popen, server: ChatServer, dice: random.Random) -> int:
    """Start a child, let it ask a little or nothing at all, kill it; return all answers by then.

    What the server is still busy with at the kill is answered, to nobody, and counts.
    """
    before = len(server.asks)
    nursery.stdin.write("go\n")
    nursery.stdin.flush()
    child = int(nursery.stdout.readline())
    wanted = dice.randrange(0, 30)
    while len(server.asks) - before < wanted and len(server.billed) < N_PICTURES:
        time.sleep(0.002)
    time.sleep(dice.uniform(0, 0.05))
    os.kill(child, signal.SIGKILL)
    assert nursery.stdout.readline() == "gone\n"
    while server.now:
        time.sleep(0.005)
    time.sleep(0.02)
    return server.billed.total()
