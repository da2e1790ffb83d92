"""``python -m tracker.training``: train nano, or fine-tune a checkpoint."""

from __future__ import annotations

import sys

from tracker.training.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
