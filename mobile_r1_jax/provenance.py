"""The starts of a run, in run.json of its directory: an entry for each start, oldest first.

Nothing that looks like a secret is written: the value of a flag with such a name, a password in a URL, a token of a
known shape, and every value of an environment variable with such a name.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax

from mobile_r1_jax.agent.errors import OneLineError
from mobile_r1_jax.agent.whole_files import write_whole

FILE, PATCHES = "run.json", "patches"
MOST_PATCH = 1 << 20  # characters of a patch; a longer one is truncated
_ROOT = Path(__file__).resolve().parents[1]  # of the checkout, if the package runs from one
_GIT_SECONDS = 20.0
_LIBRARIES = """
    mobile-r1-jax jax jaxlib libtpu flax optax orbax-checkpoint tensorstore transformers tokenizers tensorflow-datasets
    array-record grain numpy pillow safetensors adbutils jsonargparse tensorboardX wandb
"""
_NUMERIC = ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "JAX_PLATFORMS", "JAX_ENABLE_X64", "JAX_DEFAULT_MATMUL_PRECISION")
_SECRET_NAME = re.compile(
    r"(?:^|[^a-z])(?:api_?key|access_?key|key|token|secret|passw(?:or)?d|passphrase|credentials?|auth|authorization|"
    r"cookie|bearer)(?:$|[^a-z])",
    re.IGNORECASE,
)
_SECRET_SHAPES = re.compile(
    r"\b(?:sk-[\w-]{8,}|hf_\w{8,}|gh[opsur]_\w{8,}|github_pat_\w{8,}|glpat-[\w-]{8,}|AKIA[0-9A-Z]{12,}|"
    r"xox[abp]-[\w-]{8,}|AIza[\w-]{20,}|ya29\.[\w-]{8,}|eyJ[\w-]{8,}\.[\w-]+\.[\w-]*)"
)
_URL_PASSWORD = re.compile(r"(?<=://)[^/@\s'\"]+(?=@)")
_URL_SECRET = re.compile(r"([?&;](?:[\w-]*(?:key|token|secret|password|sig|signature))=)[^&\s'\"]+", re.IGNORECASE)
_BEARER = re.compile(r"(?i)\b(bearer|basic)(\s+)[\w.~+/=-]{8,}")
HIDDEN = "***"


def record_start(directory: Path, seeds: Mapping[str, int]) -> None:
    """Append an entry for this start to run.json, and write the patch of a changed checkout below patches/.

    seeds: by name. Raises OneLineError if run.json is there and cannot be read, OSError that names the file.
    """
    file, starts = directory / FILE, []
    if file.is_file():
        try:
            starts = json.loads(file.read_text(encoding="utf-8"))["starts"] + []
        except (ValueError, KeyError, TypeError) as error:
            raise OneLineError(f"{file} is broken ({type(error).__name__}: {error}); move it away") from error
    code, patch = code_state(_ROOT)
    if patch:
        name = f"{hashlib.sha256(patch.encode()).hexdigest()[:12]}.patch"
        (directory / PATCHES).mkdir(parents=True, exist_ok=True)
        write_whole(directory / PATCHES / name, patch)
        code["patch"] = f"{PATCHES}/{name}"
    start = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": redacted_command(sys.orig_argv),
        "seeds": dict(seeds),
        "code": code,
        "versions": versions(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "devices": devices(),
        "environment": {name: redact(os.environ[name]) for name in _NUMERIC if name in os.environ},
    }
    write_whole(file, json.dumps({"starts": [*starts, start]}, ensure_ascii=False, indent=2) + "\n")


def versions() -> dict[str, str]:
    """Return name -> version of the libraries that are installed and matter."""
    found = {}
    for name in _LIBRARIES.split():
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def devices() -> dict[str, Any]:
    """Return JAX's backend, the number of each kind of device over all processes, and the number of processes."""
    kinds = Counter(device.device_kind for device in jax.devices())
    return {"backend": jax.default_backend(), "kinds": dict(kinds), "processes": jax.process_count()}


def code_state(root: Path) -> tuple[dict[str, Any], str]:
    """Return the state of the checkout at `root`, and the patch of its changed files, "" if there are none.

    commit: None outside a checkout. dirty: whether files differ from the commit. untracked: their names; the patch does
    not hold them. patch_characters: of the whole patch, if it was cut.
    """
    top = _git(root, "rev-parse", "--show-toplevel")
    # An installed package may be inside another repository, whose root is then another folder.
    if top is None or Path(top.strip()).resolve() != root:
        return {"commit": None}, ""
    commit = _git(root, "rev-parse", "HEAD")
    status = (_git(root, "status", "--porcelain=v1", "-z") or "").split("\0")
    code: dict[str, Any] = {"commit": commit and commit.strip(), "dirty": any(status)}
    if untracked := [redact(line[3:]) for line in status if line.startswith("?? ")]:
        code["untracked"] = untracked[:100]
    patch = redact(_git(root, "diff", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD") or "")
    if len(patch) > MOST_PATCH:
        code["patch_characters"] = len(patch)
    return code, patch[:MOST_PATCH]


def redacted_command(arguments: Sequence[str]) -> str:
    """Return a command line for a shell, with *** in place of values that look like secrets."""
    shown, hide = [], False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        is_secret = name.startswith("-") and _SECRET_NAME.search(name.rpartition(".")[2]) is not None
        if hide:
            argument = HIDDEN
        elif is_secret and equals:
            argument = f"{name}={HIDDEN}"
        shown.append(redact(argument))
        hide = is_secret and not equals
    return shlex.join(shown)


def redact(text: str) -> str:
    """Return a text with *** in place of texts that look like secrets and of the environment's secrets."""
    for name, value in os.environ.items():
        if len(value) >= 8 and _SECRET_NAME.search(name):
            text = text.replace(value, HIDDEN)
    text = _SECRET_SHAPES.sub(HIDDEN, text)
    text = _URL_PASSWORD.sub(HIDDEN, text)
    text = _URL_SECRET.sub(rf"\g<1>{HIDDEN}", text)
    return _BEARER.sub(rf"\g<1>\g<2>{HIDDEN}", text)


def _git(root: Path, *arguments: str) -> str | None:
    """Return the output of git in a folder; None if it fails, takes too long or is not installed."""
    command = ["git", "--no-optional-locks", "-C", str(root), "-c", "core.fsmonitor=false", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_GIT_SECONDS, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
