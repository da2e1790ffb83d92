"""The exit codes of every ``masklet`` command."""

DONE = 0  # also a command that runs until it is interrupted: run, watch, ctl events, demo
FAILED = 1  # the command could not do it: refused, not there, not reachable, something is missing
REFUSED = 2  # wrong arguments, or a configuration that cannot work: a repetition does not help
INTERRUPTED = 130  # by Ctrl-C, before it was done
