"""One step over all streams: admission, the batch, memory updates, results and corrections."""
