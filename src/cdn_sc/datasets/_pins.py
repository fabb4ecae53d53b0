"""Checksums of files that were fetched once: what comes under the same name later must be the same.

Published splits have their checksums in this package. Of files that figshare lists, the list itself names
the checksums; whoever answers in figshare's place could name others. So the first answer is kept, in
`pins.json` of the data set folder, and answers over plain http are not believed without one.
"""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
from pathlib import Path
from urllib.parse import urlsplit

from cdn_sc._logging import logger
from cdn_sc.settings import settings

TRUST_HTTP = "CDN_SC_TRUST_HTTP"


def pins_file() -> Path:
    """Where the checksums are kept."""
    return settings.dataset_dir / "pins.json"


def pinned(path: str) -> str | None:
    """Checksum of a file of the data set folder, `md5:` and digits; None where it is not known."""
    found = _read().get(path)
    return found if isinstance(found, str) else None


def pin(path: str, checksum: str) -> None:
    """Keep the checksum of a file, unless there is one."""
    from filelock import FileLock

    file = pins_file()
    try:
        with FileLock(file.with_name(f".{file.name}.lock")):
            known = _read()
            if path in known:
                return
            part = file.with_name(f".{file.name}.{secrets.token_hex(4)}.part")
            part.write_text(json.dumps(known | {path: checksum}, indent=1) + "\n", encoding="utf-8")
            os.replace(part, file)
    except OSError as error:
        logger.debug("the checksum of %s is not kept: %s", path, error)


def is_trusted(url: str) -> bool:
    """Whether nobody on the way can answer in the place of an address: https, or this machine itself.

    With `CDN_SC_TRUST_HTTP=1` in the environment, plain http counts too: the network is somebody's own.
    """
    parts = urlsplit(url)
    return parts.scheme == "https" or os.environ.get(TRUST_HTTP) == "1" or _is_here(parts.hostname or "")


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _read() -> dict[str, object]:
    try:
        found = json.loads(pins_file().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        logger.warning("the kept checksums in %s cannot be read (%s).", pins_file(), error)
        return {}
    return found if isinstance(found, dict) else {}
