"""``masklet segment``: recorded video as a job."""
