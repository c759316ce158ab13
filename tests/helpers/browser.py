"""A real Chromium without a window, from the system's packages, and what it tells of a page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.helpers.waiting import wait_until

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
SANDBOX_OFF = ["--no-sandbox"]  # it cannot be had by root, as whom tests run in containers
PATIENCE_MS = 20_000


@contextmanager
def opened() -> Iterator[Browser]:
    """Skips where there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium here: packaging/system-deps.sh --test installs one where it may")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=SANDBOX_OFF)
        yield browser
        browser.close()


class Tab:
    """A page in a profile of its own.

    Attributes:
        page: Page
        trouble: errors of scripts, of the console and of the page's policy
        asked: addresses of all requests
    """

    def __init__(
        self, browser: Browser, address: str, *, key: str = "", is_phone: bool = False, **options: Any
    ) -> None:
        size = {"width": 390, "height": 844} if is_phone else {"width": 1180, "height": 760}
        self.address = address
        self._context = browser.new_context(
            **{"viewport": size, "is_mobile": is_phone, "has_touch": is_phone, "locale": "en-US"} | options
        )
        self._context.set_default_timeout(PATIENCE_MS)
        self._context.grant_permissions(["clipboard-read", "clipboard-write"])
        self.page: Page = self._context.new_page()
        self.trouble: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda told: self.trouble.append(told.text) if told.type == "error" else None)
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self._context.on("request", lambda request: self.asked.append(request.url))
        if key:
            self._context.add_init_script(f"sessionStorage.setItem('qwen-workbench.key', '{key}')")

    def __enter__(self) -> Self:
        self.page.goto(self.address)
        return self

    def __exit__(self, *exc: object) -> None:
        self._context.close()

    def outside(self) -> list[str]:
        """Requests to other places than the server."""
        return [url for url in self.asked if not url.startswith((self.address, "data:", "blob:"))]

    def ask(self, text: str) -> None:
        self.page.get_by_label("Your question").fill(text)
        self.page.keyboard.press("Enter")

    def reply(self) -> str:
        """The text of the last one so far."""
        return self.page.locator(".reply .prose").last.inner_text()

    def until(self, expression: str) -> None:
        """Holds in the page, whose policy lets no other way of waiting run in it."""
        wait_until(lambda: self.page.evaluate(expression))

    def until_idle(self) -> None:
        self.until("document.querySelector('.reply') && !document.querySelector('[aria-busy=true], .growing')")
