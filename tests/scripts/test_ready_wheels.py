"""`--wheels`: which index is meant."""

import pytest

from scripts.ready_wheels import cuda_folder, wheel_source
from scripts.setup_progress import SetupFailed


@pytest.mark.parametrize(
    ("version", "folder"),
    [
        ("11.8", "cu118"),
        ("12.0", "cu118"),
        ("12.1", "cu121"),
        ("12.4", "cu124"),
        ("12.9", "cu125"),
        ("13.1", "cu130"),
        ("14.0", "cu132"),
    ],
)
def test_cuda_takes_the_newest_wheels_that_the_driver_runs(version: str, folder: str) -> None:
    report = f"| NVIDIA-SMI 570.00    Driver Version: 570.00    CUDA Version: {version}     |"
    assert cuda_folder(report) == folder


@pytest.mark.parametrize(("report", "message"), [("", "no CUDA driver"), ("CUDA Version: 11.4", "11.8 is the oldest")])
def test_cuda_without_a_fitting_driver(report: str, message: str) -> None:
    with pytest.raises(SetupFailed, match=message):
        cuda_folder(report)


def test_wheels_may_be_a_url_and_nothing_else_unknown() -> None:
    assert wheel_source("https://host/simple") == "https://host/simple"
    assert wheel_source("cpu").endswith("/whl/cpu")
    with pytest.raises(SetupFailed, match='--wheels rocm: use "cpu", "cuda", "metal", or the URL'):
        wheel_source("rocm")
