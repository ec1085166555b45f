"""Published silicon: the rooflines that the TPUv1 paper draws for its applications."""

from __future__ import annotations

import pytest

import hwsim
from benchmarks.silicon_time import APPLICATIONS, Application, predict

# TOPS at 34 GB/s of weights: two operations for each of the batch's products of a weight byte, at most 92 (Jouppi et
# al., ISCA 2017, tables 1 and 3); and what was measured.
ROOFLINES = {"MLP0": 13.6, "MLP1": 11.42, "LSTM0": 4.35, "CNN0": 92}


@pytest.mark.parametrize("application", APPLICATIONS, ids=lambda application: application.name)
def test_applications_stay_below_their_roofline_and_within_a_fifth_of_what_was_measured(
    application: Application,
) -> None:
    timing, tops = predict(application, hwsim.Accelerator.load("tpu-v1"))
    assert tops < ROOFLINES[application.name] * 1.001
    assert tops == pytest.approx(application.measured_tops, rel=0.2)
    if application.name == "CNN0":
        assert timing.bound == "compute"
    else:
        assert timing.bound == "dram"
        assert tops > 0.97 * ROOFLINES[application.name]
