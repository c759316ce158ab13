"""The pictures of the web page in the guide: `python -m tests.web_pictures docs/images`.

What they show is real: the starter model of the user's home, served by `serve`, answers in a real Chromium.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser

from core import paths
from tests.helpers import browser as browsers
from tests.helpers.browser import Tab
from tests.helpers.server import Server

CODE = "Write a Python function that returns the factorial of n, with an example."
POINTS = "Explain how rainbows form."
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark", "is_phone": True},
    "zh": {"color_scheme": "light", "is_phone": True, "locale": "zh-CN"},
}


def picture(browser: Browser, address: str, look: str, file: Path) -> None:
    with Tab(browser, address, **LOOKS[look]) as tab:
        page = tab.page
        page.evaluate("""localStorage.setItem('qwen-workbench.choices', '{"temperature": "0"}')""")
        page.reload()
        tab.until("document.querySelector('#model').value")
        page.locator("#question").fill(CODE if look == "light" else POINTS)
        page.locator("#send").click()
        tab.until_idle()
        page.locator("#scroll").evaluate("place => place.scrollTop = 0")
        tab.until("document.querySelector('#scroll').scrollTop === 0 && !document.querySelector('.code:not(.final)')")
        page.mouse.move(0, 0)
        page.screenshot(path=file, animations="disabled")


def main(folder: Path) -> None:
    with Server("starter", paths.home()) as server, browsers.opened() as browser:
        for look in LOOKS:
            picture(browser, server.address, look, folder / f"web-{look}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
