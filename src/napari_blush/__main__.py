"""``python -m napari_blush`` is the command line."""

import sys

from napari_blush.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
