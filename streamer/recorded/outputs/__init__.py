"""What a job writes: one file here for each form of output."""
