#!/usr/bin/env python3
"""Launches a node on a fresh machine: `python3 scripts/launch_node.py CONFIG [options of aios-actors run]`.

Contract: standard library only. Makes `.venv` beside the project, installs what requirements.lock pins, and then
becomes `.venv/bin/aios-actors run` with all arguments that are not its own (`--wheels`, `--setup-only`). What is
already installed is not looked at again, so a second start costs a fraction of a second. This file must parse on older
Pythons, so that they get one clear line instead of a SyntaxError.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Sets up and runs; returns the exit code when it cannot."""
    if sys.version_info < (3, 11):  # noqa: UP036 - the reader may run any Python
        found = "{}.{}".format(*sys.version_info[:2])
        print(
            "aios_actors needs Python 3.11 or newer, and this is "
            + found
            + ". Install a newer one and call it by name: python3.12 scripts/launch_node.py ...",
            file=sys.stderr,
        )
        return 1
    sys.path.insert(0, str(ROOT))
    from scripts.bootstrap import prepare, replace_process
    from scripts.setup_progress import SetupFailed

    parser = argparse.ArgumentParser(
        description="Sets up .venv and runs a config. All other arguments go to `aios-actors run`.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--wheels",
        metavar="cpu|cuda|metal|URL",
        help="take a ready wheel of llama-cpp-python (its maintainer's index, or any index or .whl URL) instead of "
        "building it",
    )
    parser.add_argument("--setup-only", action="store_true", help="install and stop")
    options, arguments = parser.parse_known_args()
    if not arguments and not options.setup_only:
        parser.error("which config? try configs/quickstart.toml")
    try:
        environment = prepare(ROOT, wheels=options.wheels)
    except SetupFailed as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; the next start goes on with the set-up", file=sys.stderr)
        return 130
    if options.setup_only:
        return 0
    return replace_process(environment.script("aios-actors"), ["run", *arguments])


if __name__ == "__main__":
    sys.exit(main())
