"""`python -m tests.golden`: store new digests, unless they changed under an old number."""

import json
import sys

from tests.golden.digests import GOLDEN, compute, faults


def main() -> int:
    """Renew the digests; 1, and nothing is written, where a number has to be raised first."""
    now = compute()
    found = faults(json.loads(GOLDEN.read_text()), now) if GOLDEN.exists() else []
    if found:
        sys.stderr.write("".join(f"error: {fault}\n" for fault in found))
        return 1
    GOLDEN.write_text(json.dumps(now, indent=1, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
