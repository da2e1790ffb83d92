"""``masklet bench --fleet``: the faults of a fleet, on nodes simulated on this machine."""
