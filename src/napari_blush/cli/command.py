"""What a command is made of; imports no tensor library."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from napari_blush.data_model.settings import Settings


@dataclass(frozen=True)
class Command:
    """One command: its files, its settings, and the module whose ``execute`` runs it."""

    summary: str
    usage: str
    module: str
    settings: type[Settings]
    add_files: Callable[[argparse.ArgumentParser], None]
    aliases: Mapping[str, str] = field(default_factory=dict)
