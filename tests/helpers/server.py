"""`qwen-workbench serve` as a process of its own, with what it tells on stdout."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import openai
import psutil

from tests.helpers.waiting import wait_until

ROOT = Path(__file__).parents[2]
START_S = 60.0


class Server:
    """
    Attributes:
        told: the lines of --json so far
        address: http://host:port
        home: its folder
    """

    def __init__(self, model: str, home: Path, *arguments: str) -> None:
        self.told: list[dict[str, Any]] = []
        self.address = ""
        self.home = home
        environment = {**os.environ, "QWEN_WORKBENCH_HOME": str(home), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(ROOT / "main.py"), "serve", "-m", model, "--port", "0", "--json", *arguments]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        try:
            wait_until(lambda: self.told or self._process.poll() is not None, START_S)
            assert self.told, self._process.communicate()[1]
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        self.address = self.told[0]["address"]
        return self

    def __exit__(self, *exc: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._process.poll() is None:
            assert self.stop() == 0

    def stop(self) -> int:
        """Ctrl-C; the exit code."""
        self._process.send_signal(signal.SIGINT)
        try:
            code = self._process.wait(20)
        finally:
            self._process.kill()
            self._reader.join()
            for pipe in (self._process.stdout, self._process.stderr):
                assert pipe is not None
                pipe.close()
        return code

    @property
    def worker(self) -> psutil.Process:
        return psutil.Process(self._process.pid).children()[0]

    def ended(self) -> list[dict[str, Any]]:
        return [line for line in self.told if line["event"] == "request"]

    def client(self, key: str = "none") -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.address}/v1", api_key=key, max_retries=0, timeout=60)

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        return httpx.post(f"{self.address}{path}", json=body, timeout=60, **options)

    def running(self) -> int:
        return int(httpx.get(f"{self.address}/health", timeout=20).json()["running"])

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.told.append(json.loads(line))
