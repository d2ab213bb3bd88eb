"""SIGKILL at 20 random moments: what was paid for is never asked for again."""

import os
import pickle
import random
import signal
import subprocess
import sys
import time

import pytest

from tasks.language.cache import CaptionCache
from tasks.language.captioners.openai import OpenAICaptioner
from tasks.language.captioners.params import OpenAIParams
from tests.chat_server import KEY, ChatServer, good
from tests.conftest import REPOSITORY
from tests.language.asking import OPENAI, picture

N_KILLS, N_PICTURES, CONCURRENCY = 20, 100, 4
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
    return OpenAICaptioner(params, 77, CaptionCache(tmp_path / "cache"))


def test_twenty_kills_cost_no_more_than_what_was_under_way(captioner, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    pictures = [picture(tmp_path, f"k-{n}", colour=(n, 5, 0)) for n in range(N_PICTURES)]
    dice = random.Random(7)

    def slowly(server, ask):
        time.sleep(0.03)
        return good(ask)

    with ChatServer(slowly) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        task = pickle.dumps((captioner, pictures)).hex()
        with subprocess.Popen(
            [sys.executable, "-c", NURSERY, task], cwd=REPOSITORY, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        ) as nursery:  # fmt: skip
            for _ in range(N_KILLS):
                kill_one(nursery, server, dice)
            nursery.stdin.close()
        n_killed = len(server.asks)
        captions = captioner.describe(pictures)
    assert {caption.status for caption in captions} == {"ok"}
    assert n_killed > 0
    assert server.billed.total() <= N_PICTURES + N_KILLS * CONCURRENCY
    assert all(server.billed[p.sha256] >= 1 for p in pictures)
    entries = [p for p in captioner.cache.folder.rglob("*.json") if not p.name.startswith(".")]
    assert len(entries) == N_PICTURES  # a kill leaves no half entry and no second one


def kill_one(nursery: subprocess.Popen, server: ChatServer, dice: random.Random) -> None:
    """Start a child, let it ask a little or nothing at all, kill it."""
    before = len(server.asks)
    nursery.stdin.write("go\n")
    nursery.stdin.flush()
    child = int(nursery.stdout.readline())
    wanted = dice.randrange(0, 4)
    while len(server.asks) - before < wanted and len(server.billed) < N_PICTURES:
        time.sleep(0.002)
    time.sleep(dice.uniform(0, 0.02))
    os.kill(child, signal.SIGKILL)
    assert nursery.stdout.readline() == "gone\n"
