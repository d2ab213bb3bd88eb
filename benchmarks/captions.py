"""Time to caption many pictures through a server that takes its time, beside the ideal.

``python benchmarks/captions.py [n_pictures] [concurrency]`` starts a server with a latency of 200 ms
in a process of its own, and asks it about noise of photograph size. ``theirs`` is the ideal, number of
pictures / concurrency x latency; ``overhead`` is ours over the ideal.
"""

import asyncio
import base64
import hashlib
import io
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

LATENCY_S, SIDE_PX = 0.2, 256


def main() -> None:
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve())
        return
    n_pictures = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    concurrency = int(sys.argv[2]) if len(sys.argv) > 2 else 16
    logging.basicConfig(level=logging.WARNING)
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True
        ) as server,
    ):
        try:
            os.environ["OPENAI_BASE_URL"] = (
                f"http://127.0.0.1:{server.stdout.readline().strip()}/v1"
            )
            os.environ["OPENAI_API_KEY"] = "none"
            print(json.dumps(measure(Path(folder), n_pictures, concurrency)))
        finally:
            server.kill()


def measure(folder: Path, n_pictures: int, concurrency: int) -> dict[str, object]:
    from tasks.language.cache import CaptionCache
    from tasks.language.captioners.ledger import Ledger
    from tasks.language.captioners.openai import OpenAICaptioner
    from tasks.language.captioners.params import OpenAIParams

    params = OpenAIParams.model_validate(
        {
            "model": "m",
            "request_per": "picture",
            "max_concurrency": concurrency,
            "requests_per_minute": None,
            "tokens_per_minute": None,
            "max_retries": 2,
            "max_answers": 1,
            "max_completion_tokens": 500,
            "max_cost_usd": None,
            "prices": {
                "input_usd_per_million": 1,
                "output_usd_per_million": 1,
                "batch_factor": 1,
            },
            "timeout_s": 60,
            "max_side_px": 512,
        }
    )
    stimuli = draw_pictures(folder, n_pictures)
    captioner = OpenAICaptioner(Ledger(params, 77, CaptionCache(folder / "cache")))
    start = time.perf_counter()
    captions = captioner.describe(stimuli)
    ours = time.perf_counter() - start
    theirs = n_pictures / concurrency * LATENCY_S
    peak_mb = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    assert {caption.status for caption in captions} == {"ok"}
    return {
        "name": "captions",
        "ours": round(ours, 2),
        "theirs": round(theirs, 2),
        "ratio": round(theirs / ours, 3),
        "overhead": round(ours / theirs, 3),
        "unit": "s",
        "n": n_pictures,
        "concurrency": concurrency,
        "peak_memory_mb": {"ours": peak_mb, "theirs": 0},
    }


def draw_pictures(folder: Path, n_pictures: int) -> list:
    from tasks.language.captioners.base import Stimulus

    rng, stimuli = np.random.default_rng(0), []
    noise = rng.integers(0, 255, (SIDE_PX, SIDE_PX, 3), np.uint8)
    for number in range(n_pictures):
        noise[0, :2] = np.frombuffer(number.to_bytes(6, "big"), np.uint8).reshape(2, 3)
        buffer = io.BytesIO()
        Image.fromarray(noise).save(buffer, "JPEG", quality=75, comment=str(number))
        path = folder / f"{number}.jpg"
        path.write_bytes(buffer.getvalue())
        sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
        stimuli.append(Stimulus(str(number), path, sha256))
    return stimuli


async def serve() -> None:
    """Answer every request after the latency, with captions in the shape that it asks for."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not reader.at_eof():
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            except asyncio.IncompleteReadError:  # the client is done
                break
            length = int(head.split("content-length:")[1].split("\r\n")[0])
            body = await reader.readexactly(length)
            await asyncio.sleep(LATENCY_S)
            writer.write(respond(body))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=2**24)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def respond(body: bytes) -> bytes:
    kinds = json.loads(body)["response_format"]["json_schema"]["schema"]["properties"]
    picture = base64.b64encode(hashlib.sha256(body).digest()).decode()
    texts = {kind: f"the {kind} that can be seen in the picture" for kind in kinds}
    message = {"role": "assistant", "content": json.dumps(texts)}
    content = {
        "id": picture,
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 900, "completion_tokens": 200, "total_tokens": 1100},
    }
    payload = json.dumps(content).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(payload)}\r\n\r\n"
    return head.encode() + payload


if __name__ == "__main__":
    main()
