"""The project's own launch script on its own quickstart: set-up, worker, real inference, right answers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXPECTED = {
    "What is 37 times 14?": "518",
    "What is 905 minus 268?": "637",
    "Write 518 to notes.txt.": "",
    "Read the file notes.txt.": "518",
    "Remember that the code of Miravel is 8342.": "",
    "What is the code of Miravel?": "8342",
    "Ask the assistant: What is 48 times 21?": "1008",
    "Ask the clerk: Write 615 to report.txt.": "",
}


@pytest.mark.skipif(
    Path(sys.prefix).resolve() != (ROOT / ".venv").resolve(), reason="not run by scripts/test: .venv is not set up"
)
def test_the_quickstart_runs_and_answers(tmp_path: Path) -> None:
    command = [sys.executable, "scripts/launch_node.py", "configs/quickstart.toml", "--json", "--data", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    answers = {line["task"]: line["answer"] for line in map(json.loads, done.stdout.splitlines())}
    assert answers.keys() == EXPECTED.keys()
    wrong = {task: answers[task] for task, figure in EXPECTED.items() if figure not in answers[task]}
    assert not wrong
