"""FSC curves as the EMDB takes them at deposition."""

from pathlib import Path
from xml.sax.saxutils import quoteattr

from napari_blush.conventions import Spectrum
from napari_blush.errors import SettingsError
from napari_blush.io.atomic import write_bytes


def write_fsc_xml(path: Path, fsc: Spectrum, voxel_size: float, title: str) -> None:
    """Write one curve: spatial frequency in 1/A against correlation.

    Parameters
    ----------
    path : Path
        Replaced whole or not at all.
    fsc : (n // 2 + 1,)
    voxel_size : float
        Angstrom.
    title : str

    Notes
    -----
    The format of the EMDB's FSC files and of ``relion_postprocess``: ``fsc`` with a ``coordinate``
    for each shell.
    """
    box = 2 * (len(fsc) - 1)
    if box <= 0:
        raise SettingsError("A curve of one shell was given; wanted at least two.")
    lines = [
        f'<fsc title={quoteattr(title)} xaxis="Resolution (A-1)" yaxis="Correlation Coefficient">'
    ]
    for shell, value in enumerate(fsc.double().tolist()):
        lines += [
            "  <coordinate>",
            f"    <x>{shell / (box * voxel_size):.8g}</x>",
            f"    <y>{value:.6g}</y>",
            "  </coordinate>",
        ]
    text = "\n".join([*lines, "</fsc>", ""])
    write_bytes(path, text.encode(), SettingsError)
