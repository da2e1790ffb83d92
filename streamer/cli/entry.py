"""The entry of the ``masklet`` command: Ctrl-C while its modules are imported shows no traceback.

Imports nothing else before ``main`` runs.
"""

from __future__ import annotations


def main() -> int:
    """Run one command and return its exit code."""
    try:
        from streamer.cli.main import main as run_command

        return run_command()
    except KeyboardInterrupt:
        return 130  # INTERRUPTED of ``exit_codes``
