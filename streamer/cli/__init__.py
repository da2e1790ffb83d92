"""The ``masklet`` command."""
