"""Runs the network: fixed shapes, CUDA graphs, attention kernels, warm-up.

What a step means is in ``tracker.step``; nothing here chooses what is remembered.
"""
