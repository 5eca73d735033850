"""Where ready wheels of llama-cpp-python come from: `--wheels cpu|cuda|metal|URL`.

Contract: standard library only; nothing is downloaded here. `cuda` is the newest folder of the maintainer's index that
the machine's driver can run, as nvidia-smi tells it.
"""

from __future__ import annotations

import re
import subprocess

from scripts.setup_progress import SetupFailed

WHEEL_INDEX = "https://abetlen.github.io/llama-cpp-python/whl"
# The CUDA releases that the maintainer's index has a folder for (llama-cpp-python 0.3.36's README).
CUDA_FOLDERS = ((11, 8), (12, 1), (12, 2), (12, 3), (12, 4), (12, 5), (13, 0), (13, 2))


def wheel_source(choice: str) -> str:
    """URL for `--wheels`: a folder of the maintainer's index, or the given URL."""
    if choice in ("cpu", "metal"):
        return f"{WHEEL_INDEX}/{choice}"
    if choice == "cuda":
        return f"{WHEEL_INDEX}/{cuda_folder(nvidia_smi())}"
    if "://" in choice:
        return choice
    raise SetupFailed(f'--wheels {choice}: use "cpu", "cuda", "metal", or the URL of an index or a .whl file')


def nvidia_smi() -> str:
    """What nvidia-smi prints, "" if it is not there or fails."""
    try:
        return subprocess.run(["nvidia-smi"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""


def cuda_folder(report: str) -> str:
    """The newest folder of the index that the driver can run: `cu124` for a driver of CUDA 12.4."""
    found = re.search(r"CUDA Version:\s*(\d+)\.(\d+)", report)
    if found is None:
        raise SetupFailed(
            "--wheels cuda: nvidia-smi shows no CUDA driver. Install the NVIDIA driver, or use --wheels cpu"
        )
    driver = (int(found[1]), int(found[2]))
    fitting = [folder for folder in CUDA_FOLDERS if folder <= driver]
    if not fitting:
        raise SetupFailed(
            f"--wheels cuda: the driver has CUDA {found[1]}.{found[2]}, and 11.8 is the oldest with wheels"
        )
    return "cu{}{}".format(*fitting[-1])
