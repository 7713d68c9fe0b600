"""What `report.js` reads of a page, in Python."""

from __future__ import annotations

import base64
import json
import re
import zlib
from typing import Any

import numpy as np

PLACE = re.compile(r'(<script type="text/plain" id="page-data">)([^<]*)(</script>)')


def content(page: str) -> tuple[dict[str, Any], bytes]:
    """The JSON, and the bytes of the arrays."""
    found = PLACE.search(page)
    assert found is not None
    raw = zlib.decompress(base64.b64decode(found[2]))
    end = 4 + int.from_bytes(raw[:4], "little")
    return json.loads(raw[4:end]), raw[end:]


def unpacked(page: str) -> dict[str, Any]:
    """The data of a page, with its arrays."""
    data, rest = content(page)
    for holder in [*data["table"]["variables"], *data["differences"]["quantities"]]:
        for key, ref in list(holder.items()):
            if isinstance(ref, dict) and {"kind", "start", "count"} <= set(ref):
                planes = np.frombuffer(rest, np.uint8, 4 * ref["count"], ref["start"]).reshape(4, -1)
                holder[key] = np.ascontiguousarray(planes.T).view(f"<{ref['kind']}4").ravel()
    return data


def with_data(page: str, data: dict[str, Any]) -> str:
    """The page with other JSON and its own arrays."""
    _, rest = content(page)
    head = json.dumps(data).encode()
    text = base64.b64encode(zlib.compress(len(head).to_bytes(4, "little") + head + rest)).decode()
    return PLACE.sub(lambda found: found[1] + text + found[3], page)
