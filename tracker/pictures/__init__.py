"""Single pictures: SAM 2's image predictor on the tracker's network and weights."""
