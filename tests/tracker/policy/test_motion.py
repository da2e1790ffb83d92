"""The batched Kalman filter against the textbook's matrices, and what a step asks of it."""

from __future__ import annotations

import numpy as np
import torch

from tracker.policy import motion


def box(x: float, y: float, width: float, height: float) -> torch.Tensor:
    return torch.tensor([[x - width / 2, y - height / 2, x + width / 2, y + height / 2]])


def now(state: torch.Tensor, **changes: torch.Tensor) -> torch.Tensor:
    arguments = {
        "frames_N": torch.ones(len(state)),
        "hidden_N": torch.zeros(len(state), dtype=torch.bool),
        "shift_N2": torch.zeros(len(state), 2),
    }
    return motion.predicted(state, **(arguments | changes))


def test_filter_is_the_textbooks_with_its_matrices_of_eight() -> None:
    torch.manual_seed(0)
    state = motion.begun(box(0.4, 0.5, 0.1, 0.2)).double()
    sizes = np.array([0.1, 0.2, 0.1, 0.2])
    mean = np.concatenate((state[0, :, 0].numpy(), np.zeros(4)))
    covariance = np.diag(state[0, :, [2, 4]].T.flatten().numpy())
    step = np.eye(8) + np.eye(8, k=4)
    for index in range(8):
        sizes = np.tile(mean[2:4], 2)
        noise = np.diag(np.concatenate((sizes / 20, sizes / 160)) ** 2)
        mean, covariance = step @ mean, step @ covariance @ step.T + noise
        state = now(state)
        seen = np.array([0.4 + 0.01 * index, 0.5, 0.1 + 0.002 * index, 0.2])
        look = np.eye(4, 8)
        error = np.diag((np.tile(mean[2:4], 2) / 20) ** 2)
        gain = covariance @ look.T @ np.linalg.inv(look @ covariance @ look.T + error)
        mean = mean + gain @ (seen - look @ mean)
        covariance = covariance - gain @ look @ covariance
        state = motion.corrected(state, box(*seen).double())
    np.testing.assert_allclose(state[0, :, 0], mean[:4], atol=1e-6)
    np.testing.assert_allclose(state[0, :, 1], mean[4:], atol=1e-6)
    np.testing.assert_allclose(state[0, :, 2], np.diag(covariance)[:4], rtol=1e-4)
    np.testing.assert_allclose(state[0, :, 4], np.diag(covariance)[4:], rtol=1e-4)


def test_steady_motion_is_expected_to_continue() -> None:
    state = motion.begun(box(0.2, 0.5, 0.1, 0.2))
    for index in range(1, 25):
        state = motion.corrected(now(state), box(0.2 + 0.01 * index, 0.5, 0.1, 0.2))
    expected = motion.boxes(now(state, frames_N=torch.tensor([5.0])))
    torch.testing.assert_close(expected, box(0.49, 0.5, 0.1, 0.2), rtol=0, atol=0.005)


def test_hidden_object_keeps_its_size_and_becomes_less_certain() -> None:
    state = motion.begun(box(0.5, 0.5, 0.1, 0.1))
    for index in range(1, 10):
        state = motion.corrected(now(state), box(0.5, 0.5, 0.1 + 0.01 * index, 0.1))
    size, spread = state[0, 2, 0].item(), motion.spread(state)
    for _ in range(20):
        state = now(state, hidden_N=torch.ones(1, dtype=torch.bool))
        assert motion.spread(state) > spread
        spread = motion.spread(state)
    assert abs(state[0, 2, 0].item() - size) < 1e-6


def test_prediction_moves_with_the_camera() -> None:
    state = motion.begun(box(0.5, 0.5, 0.1, 0.1))
    moved = motion.boxes(now(state, shift_N2=torch.tensor([[0.05, -0.02]])))
    torch.testing.assert_close(moved, box(0.55, 0.48, 0.1, 0.1))


def test_a_gap_counts_like_its_frames() -> None:
    state = motion.corrected(now(motion.begun(box(0.4, 0.5, 0.1, 0.1))), box(0.42, 0.5, 0.1, 0.1))
    once, thrice = now(state, frames_N=torch.tensor([3.0])), now(now(now(state)))
    torch.testing.assert_close(motion.boxes(once), motion.boxes(thrice))
