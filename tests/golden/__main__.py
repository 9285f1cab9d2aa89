"""`python -m tests.golden`: store new digests, unless they changed and the format version did not."""

import json
import sys

from tests.golden.digests import GOLDEN, compute, find_problems


def main() -> int:
    """Write new digests and return 0; return 1 and write nothing if a format version has to be raised first."""
    now = compute()
    problems = find_problems(json.loads(GOLDEN.read_text()), now) if GOLDEN.exists() else []
    if problems:
        sys.stderr.write("".join(f"error: {problem}\n" for problem in problems))
        return 1
    GOLDEN.write_text(json.dumps(now, indent=1, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
