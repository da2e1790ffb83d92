"""How the network is run: prepared images, fixed shapes, graphs, warm-up, and faster arithmetic.

What a step means stands in ``tracker.tracker``; nothing here chooses what is remembered. This
package itself imports nothing, so that options can be read without torch.
"""
