"""`truefit serve` under load: good, broken, huge and wrong files from many clients, and SIGTERM in the middle.

.venv/bin/python benchmarks/serve_load.py [RUN] [--requests 1000] [--clients 16]

Without a RUN a small one is trained on digits first.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image
from protocol import save

TRUEFIT = Path(sys.executable).with_name("truefit")
MAX_BYTES, MAX_PIXELS = 1_000_000, 2_000_000
PROTOCOL = (
    "truefit serve in a process of its own, asked by threads of this one over keep-alive connections. Each request "
    "is drawn: 70 % good images (JPEG, PNG, WebP, GIF, BMP of 8 to 900 pixels a side), 10 % broken (cut, empty, text "
    "named .jpg), 10 % huge (too many bytes, or too many pixels in a small file), 10 % wrong (no file, another field, "
    "JSON). Good answers are compared with those of `truefit predict --json` on the same files: same class, "
    "probabilities within 1e-5. Latencies are of good requests, seen by the client. Memory is the service's resident "
    "set as /metrics tells it, after each twentieth of the requests; spread = (largest - smallest) / median over the "
    "second half. Then the same load once more, with SIGTERM when half of it is done: the requests that the service "
    "says it accepted and answered are compared with the answers that the clients have."
)


class Traffic:
    """Files of every kind, and what `truefit predict` says of the good ones."""

    def __init__(self, folder: Path, run: Path, count: int = 40) -> None:
        draw = np.random.default_rng(0)
        self.good = []
        for number in range(count):
            width, height = (int(side) for side in draw.integers(8, 900 if number % 4 == 0 else 64, 2))
            name = folder / f"{number}.{('jpg', 'png', 'webp', 'gif', 'bmp')[number % 5]}"
            Image.fromarray(draw.integers(0, 256, (height, width, 3), np.uint8)).save(name)
            self.good.append(name)
        answer = subprocess.run([TRUEFIT, "predict", run, *self.good, "--json"], capture_output=True, check=True)
        self.wanted = {Path(row["path"]): row for row in json.loads(answer.stdout)["predictions"]}
        small = io.BytesIO()
        Image.new("1", (3000, 3000)).save(small, "PNG")
        whole = self.good[0].read_bytes()
        self.broken = [whole[: len(whole) // 2], b"", b"no image at all"]
        self.huge = [draw.bytes(3 * MAX_BYTES), small.getvalue()]
        self.wrong: list[dict[str, Any]] = [
            {},
            {"files": {"photo": ("a.jpg", whole)}},
            {"json": {"image": "a.jpg"}},
            {"data": {"image": "a.jpg"}},
            {"content": whole, "headers": {"Content-Type": "multipart/form-data"}},
        ]

    def request(self, draw: random.Random) -> tuple[str, Path | None, dict[str, Any]]:
        """Kind, file of a good one, and what httpx needs to send it."""
        kind = draw.choices(("good", "broken", "huge", "wrong"), (7, 1, 1, 1))[0]
        if kind == "good":
            path = draw.choice(self.good)
            return kind, path, {"files": {"image": (path.name, path.read_bytes())}}
        if kind == "wrong":
            return kind, None, draw.choice(self.wrong)
        return kind, None, {"files": {"image": ("a.jpg", draw.choice(getattr(self, kind)))}}


class Service:
    """The command in a process of its own."""

    def __init__(self, run: Path) -> None:
        words = [TRUEFIT, "serve", run, "--port", "0", "--max-bytes", MAX_BYTES, "--max-pixels", MAX_PIXELS]
        self.process = subprocess.Popen(
            [str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"http://\S+:\d+", line)
        if found is None:
            sys.exit(f"the service did not start: {line}{self.process.communicate()[1]}")
        self.url = found[0]

    def resident(self) -> int:
        """Memory in bytes, as the service itself tells."""
        text = httpx.get(f"{self.url}/metrics").text
        found = re.search(r"^process_resident_memory_bytes (\d+)$", text, re.MULTILINE)
        return int(found[1]) if found else 0

    def end(self) -> tuple[int, str]:
        """SIGTERM, exit status and last words."""
        self.process.send_signal(signal.SIGTERM)
        _, last_words = self.process.communicate(timeout=60)
        return self.process.returncode, last_words.strip()


class Load:
    """So many requests by so many clients, and what became of them."""

    def __init__(self, service: Service, traffic: Traffic, requests: int, clients: int) -> None:
        self.service, self.traffic, self.requests, self.clients = service, traffic, requests, clients
        self.lock = threading.Lock()
        self.left, self.done = requests, 0
        self.outcomes: Counter[str] = Counter()
        self.faults: list[str] = []
        self.seconds: list[float] = []
        self.memory: list[int] = []
        self.half = threading.Event()
        self.with_memory = True

    def run(self) -> None:
        """All of them."""
        with ThreadPoolExecutor(self.clients) as pool:
            for future in [pool.submit(self._client, number) for number in range(self.clients)]:
                future.result()

    def _client(self, number: int) -> None:
        draw = random.Random(number)
        with httpx.Client(base_url=self.service.url, timeout=60) as client:
            while self._another():
                kind, path, what = self.traffic.request(draw)
                start = time.perf_counter()
                try:
                    answer = client.post("/predict", **what)
                except httpx.TransportError as error:
                    outcome, fault = f"no answer ({type(error).__name__})", None
                else:
                    outcome, fault = f"{kind} {answer.status_code}", self._fault(kind, path, answer)
                self._note(kind, outcome, fault, time.perf_counter() - start)

    def _another(self) -> bool:
        with self.lock:
            self.left -= 1
            return self.left >= 0

    def _fault(self, kind: str, path: Path | None, answer: httpx.Response) -> str | None:
        if path is None:
            said = answer.json().get("detail")
            refused = 400 <= answer.status_code < 500 and isinstance(said, str) and len(said) > 10
            return None if refused else f"{kind}: {answer.status_code} {answer.text[:100]}"
        if answer.status_code != 200:
            return f"{path.name}: {answer.status_code} {answer.text[:100]}"
        found, wanted = answer.json(), self.traffic.wanted[path]
        close = np.allclose(
            list(found["probabilities"].values()), list(wanted["probabilities"].values()), rtol=0, atol=1e-5
        )
        same = found["predicted"] == wanted["predicted"] and list(found["probabilities"]) == list(
            wanted["probabilities"]
        )
        return None if close and same else f"{path.name}: {found} instead of {wanted}"

    def _note(self, kind: str, outcome: str, fault: str | None, seconds: float) -> None:
        with self.lock:
            self.outcomes[outcome] += 1
            self.done += 1
            if fault is not None:
                self.faults.append(fault)
            if kind == "good":
                self.seconds.append(seconds)
            look = self.done % max(1, self.requests // 20) == 0
            if self.done * 2 >= self.requests:
                self.half.set()
        if look and self.with_memory:
            size = self.service.resident()
            with self.lock:
                self.memory.append(size)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--name", default="serve_load")
    parser.add_argument("--json", action="store_true", help="print the result, save nothing")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        run = options.run
        if run is None:
            run = place / "run"
            words = [TRUEFIT, "train", "digits", "--epochs", "1", "--out", run, "--quiet", "--no-report"]
            subprocess.run(words, check=True)
        (place / "files").mkdir()
        traffic = Traffic(place / "files", run)
        result = {"requests": options.requests, "clients": options.clients, **_steady(run, traffic, options)}
        result |= {"sigterm": _ended_in_the_middle(run, traffic, options)}
    if options.json:
        print(json.dumps(result))
        return
    print(json.dumps(result, indent=2))
    save(options.name, PROTOCOL, {**result, "cpus": os.cpu_count()})


def _steady(run: Path, traffic: Traffic, options: argparse.Namespace) -> dict[str, Any]:
    service = Service(run)
    load = Load(service, traffic, options.requests, options.clients)
    start = time.perf_counter()
    load.run()
    seconds = time.perf_counter() - start
    code, last_words = service.end()
    settled = load.memory[len(load.memory) // 2 :]
    return {
        "outcomes": dict(sorted(load.outcomes.items())),
        "faults": load.faults,
        "milliseconds": {f"p{part}": round(1e3 * float(np.percentile(load.seconds, part)), 1) for part in (50, 90, 99)},
        "requests_per_second": round(options.requests / seconds, 1),
        "memory_mib": [round(size / 2**20, 1) for size in load.memory],
        "memory_spread": (max(settled) - min(settled)) / float(np.median(settled)) if settled else None,
        "exit_code": code,
        "last_words": last_words,
    }


def _ended_in_the_middle(run: Path, traffic: Traffic, options: argparse.Namespace) -> dict[str, Any]:
    service = Service(run)
    load = Load(service, traffic, options.requests, options.clients)
    # Looks at the memory are requests too, and would be counted.
    load.with_memory = False
    thread = threading.Thread(target=load.run)
    thread.start()
    load.half.wait()
    code, last_words = service.end()
    thread.join()
    accepted, answered = map(int, re.findall(r"(\d+) requests accepted, (\d+) answered", last_words)[0])
    received = sum(count for outcome, count in load.outcomes.items() if not outcome.startswith("no answer"))
    return {
        "accepted": accepted,
        "answered": answered,
        "received": received,
        "outcomes": dict(sorted(load.outcomes.items())),
        "faults": load.faults,
        "exit_code": code,
    }


if __name__ == "__main__":
    main()
