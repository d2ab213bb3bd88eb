"""What several tests of captioners start from."""

import pytest

from tasks.language.cache import CaptionCache
from tasks.language.captioners.ledger import Ledger
from tasks.language.captioners.openai import OpenAICaptioner
from tasks.language.captioners.params import OpenAIParams
from tests.chat_server import KEY
from tests.language.asking import OPENAI


@pytest.fixture
def build(tmp_path, monkeypatch):
    """A captioner of a server; params by keyword."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def build(server, **changes):
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        params = OpenAIParams.model_validate(OPENAI | {"max_concurrency": 3} | changes)
        return OpenAICaptioner(Ledger(params, 77, CaptionCache(tmp_path / "cache")))

    return build
