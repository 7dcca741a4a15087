"""The ``napari-blush`` program: finds the command, its settings and the right exit code.

Exit codes: 0 done, 1 failed, 2 the command line is wrong, 130 interrupted. Nothing heavy is
imported before a command runs, so that ``--help`` and ``--version`` answer at once.
"""

import importlib
import sys
from collections.abc import Sequence

from napari_blush import __version__
from napari_blush.errors import BlushError, SettingsError

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program with ``arguments`` (default: those of the process); return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given in (["--version"], ["-V"]):
        print(f"napari-blush {__version__}")
        return EXIT_DONE
    try:
        return _run(given)
    except SystemExit as leaving:  # argparse has printed its help or its complaint
        return int(leaving.code or EXIT_DONE)
    except KeyboardInterrupt:
        print("napari-blush: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except (BlushError, OSError) as error:
        if "--traceback" in given:
            raise
        print(f"napari-blush: {error}", file=sys.stderr)
        return EXIT_USAGE if isinstance(error, SettingsError) else EXIT_FAILED


def _run(given: list[str]) -> int:
    """Parse, and hand over to the module of the command; ``--version`` does without pydantic."""
    from napari_blush.cli.commands import COMMANDS, build_parser
    from napari_blush.cli.options import settings_from_options

    # Commands of two words are written as one or as two.
    if "-".join(given[:2]) in COMMANDS:
        given = ["-".join(given[:2]), *given[2:]]
    parser = build_parser()
    options = parser.parse_args(given)
    if options.command is None:
        parser.print_help()
        return EXIT_USAGE
    command = COMMANDS[options.command]
    settings = settings_from_options(command.settings, options)
    return int(importlib.import_module(command.module).execute(settings, options))
