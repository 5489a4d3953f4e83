"""``python -m sandbox``: the sandbox as a process."""

from __future__ import annotations

from sandbox.command import main

if __name__ == "__main__":
    main()
