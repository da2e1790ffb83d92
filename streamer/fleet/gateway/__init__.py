"""The one address of a fleet: HTTP, page, results and metrics of all its daemons."""
