"""Fills .venv: `python packaging/setup_env.py [extra ...]`, run by the Makefile with the interpreter of .venv.

Owns the choice of the torch build. Invariant: a stamp in .venv names what was installed, so a second run costs nothing,
and the stamp is written last, so an interrupted set-up is done again. Standard library only: nothing else is there yet.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def wanted_torch() -> str:
    """The pinned requirement, e.g. "torch==2.13.0"."""
    lines = (ROOT / "constraints.txt").read_text().split()
    return next(line for line in lines if line.startswith("torch=="))


def has_nvidia_driver() -> bool:
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def offered_torch() -> str:
    """The version that pip's own configuration would install, or ""."""
    command = [*PIP, "install", "--dry-run", "--no-deps", "--ignore-installed", "--quiet", "--report", "-"]
    result = subprocess.run([*command, wanted_torch()], capture_output=True, text=True)
    try:
        return str(json.loads(result.stdout)["install"][0]["metadata"]["version"])
    except (ValueError, LookupError):
        return ""


def answers(url: str) -> bool:
    """Whether an index answers within 2 seconds."""
    try:
        with urllib.request.urlopen(f"{url}/torch/", timeout=2):
            return True
    except OSError:
        return False


def torch_options() -> list[str]:
    """Extra options for pip, and a line that says which build they lead to."""
    if has_nvidia_driver():
        print("torch: the CUDA build, because this machine has an NVIDIA driver")
        return []
    if "+cpu" in offered_torch():
        print("torch: the CPU build that pip's configuration offers, because there is no NVIDIA driver")
        return []
    if answers(CPU_INDEX):
        print("torch: the CPU build from PyTorch's own index, because there is no NVIDIA driver")
        return ["--index-url", CPU_INDEX]
    print("torch: the default build (several GB), because no CPU build could be reached")
    return []


def run(arguments: list[str]) -> None:
    if subprocess.run([*PIP, *arguments], cwd=ROOT).returncode:
        sys.exit("The set-up could not install everything; see above. Run the same command again to go on from here.")


def fingerprint(extras: list[str]) -> str:
    parts = [(ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    return hashlib.sha256(b"\0".join([*parts, str(ROOT).encode(), " ".join(extras).encode()])).hexdigest()


def compile_bytecode() -> None:
    """Bytecode for our own files: pip compiles what it installs, but not the source tree it links to."""
    subprocess.run([sys.executable, "-m", "compileall", "-q", "app", "core", "main.py"], cwd=ROOT, check=True)


def main() -> None:
    extras = sorted(sys.argv[1:])
    stamp = Path(sys.prefix) / "installed.json"
    done = json.loads(stamp.read_text()) if stamp.exists() else {}
    have = done.get("extras", [])
    if done.get("fingerprint") != fingerprint(have) or not set(extras) <= set(have):
        extras = sorted({*extras, *have})
        stamp.unlink(missing_ok=True)
        print("Setting up .venv (the first time takes some minutes)")
        run(["install", "--quiet", wanted_torch(), "-c", "constraints.txt", *torch_options()])
        target = f".[{','.join(extras)}]" if extras else "."
        run(["install", "--quiet", "-c", "constraints.txt", "-e", target])
        stamp.write_text(json.dumps({"fingerprint": fingerprint(extras), "extras": extras}))
    compile_bytecode()


if __name__ == "__main__":
    main()
