"""The first minutes on a CUDA device: `python -m benchmarks.device`, see ``__main__``."""
