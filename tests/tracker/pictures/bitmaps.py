"""Masks for property tests: noise, blots, stripes, empty and full ones."""

import cv2
import numpy as np
from hypothesis import strategies as st


@st.composite
def bitmaps(draw: st.DrawFn) -> np.ndarray:
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    noise = np.random.default_rng(draw(st.integers(0, 2**32))).random((height, width))
    blur = draw(st.sampled_from([1, 3, 7]))
    return cv2.blur(noise, (blur, blur)) < draw(st.sampled_from([0.0, 0.1, 0.45, 0.5, 0.9, 2.0]))
