"""Several daemons as one: streams placed on the machines of a Ray cluster."""
