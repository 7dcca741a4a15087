"""Optics groups from a RELION 3.1 optics table, and back."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from napari_blush.data_model.optics_group import OpticsGroup
from napari_blush.errors import SettingsError, StarFileError
from napari_blush.io.star_columns import StarColumns
from napari_blush.io.star_table import Column
from napari_blush.io.star_text import columns_of

_MATRIX = ("rlnMagMat00", "rlnMagMat01", "rlnMagMat10", "rlnMagMat11")


def group_of_each_particle(optics: StarColumns, particles: StarColumns) -> npt.NDArray[np.int64]:
    """Return each particle's optics group as a 0-based row of the optics table.

    Raises
    ------
    StarFileError
        When a group is defined twice or a particle names one that is not defined.
    """
    numbers = optics.integers("rlnOpticsGroup")
    if not len(numbers):
        raise StarFileError(
            f"{optics.path} has an empty table data_optics; wanted one row per optics group."
        )
    if len(np.unique(numbers)) < len(numbers):
        raise StarFileError(
            f"{optics.path} defines an optics group twice in data_optics; wanted each once; "
            "renumber _rlnOpticsGroup in both tables."
        )
    named = particles.integers("rlnOpticsGroup")
    order = np.argsort(numbers)
    place = np.minimum(np.searchsorted(numbers, named, sorter=order), len(numbers) - 1)
    index = order[place]
    wrong = np.flatnonzero(numbers[index] != named)
    if len(wrong):
        row = int(wrong[0])
        raise StarFileError(
            f"{particles.path} puts particle {row + 1} into optics group {named[row]}, which "
            f"data_optics does not define (it has {', '.join(map(str, numbers))}); add that group "
            "or correct _rlnOpticsGroup."
        )
    return index.astype(np.int64)


def read_optics_groups(table: StarColumns, box_sizes: Sequence[int]) -> tuple[OpticsGroup, ...]:
    """Return the optics groups of a table, in its order.

    Parameters
    ----------
    table : StarColumns
    box_sizes : sequence of int
        Box of each group's images as found in the stacks, pixels.

    Raises
    ------
    StarFileError
        When a value is missing or makes no sense.
    """
    dimensions = table.integers("rlnImageDimensionality", 2)
    if (dimensions != 2).any():
        raise StarFileError(
            f"{table.path} has images of {int(dimensions.max())} dimensions "
            "(_rlnImageDimensionality); wanted 2D particle images."
        )
    physical = [
        table.numbers(label)
        for label in (
            "rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast", "rlnImagePixelSize",
        )
    ]  # fmt: skip
    tilts = np.zeros((len(table), 2))
    if table.all_or_none("rlnBeamTiltX", "rlnBeamTiltY"):
        tilts = np.stack([table.numbers("rlnBeamTiltX"), table.numbers("rlnBeamTiltY")], axis=1)
    matrices = np.tile(np.eye(2), (len(table), 1, 1))
    if table.all_or_none(*_MATRIX):
        matrices = np.stack([table.numbers(x) for x in _MATRIX], axis=1).reshape(-1, 2, 2)
    names = (
        table.text("rlnOpticsGroupName")
        if "rlnOpticsGroupName" in table
        else [f"opticsGroup{number}" for number in table.integers("rlnOpticsGroup")]
    )
    odd, even = (_zernike(table, label) for label in ("rlnOddZernike", "rlnEvenZernike"))
    premultiplied = table.integers("rlnCtfDataAreCtfPremultiplied", 0)
    groups = []
    for i, (name, box) in enumerate(zip(names, box_sizes, strict=True)):
        voltage, aberration, contrast, pixel_size = (float(values[i]) for values in physical)
        (m00, m01), (m10, m11) = matrices[i].tolist()
        try:
            group = OpticsGroup(
                name=str(name), voltage_kv=voltage, spherical_aberration_mm=aberration,
                amplitude_contrast=contrast, pixel_size=pixel_size, box_size=box,
                beam_tilt_mrad=(float(tilts[i, 0]), float(tilts[i, 1])),
                odd_zernike=odd[i], even_zernike=even[i],
                magnification_matrix=((m00, m01), (m10, m11)),
                ctf_premultiplied=bool(premultiplied[i]),
            )  # fmt: skip
        except SettingsError as problem:
            raise StarFileError(f"{table.path}: {problem}") from problem
        groups.append(group)
    return tuple(groups)


def optics_columns(
    groups: Sequence[OpticsGroup], read: Mapping[str, npt.NDArray[np.generic]]
) -> dict[str, Column]:
    """Return the optics table: what was read as it was read, and whatever RELION needs besides."""
    needed: dict[str, npt.ArrayLike] = {
        "rlnOpticsGroupName": [group.name for group in groups],
        "rlnOpticsGroup": np.arange(1, len(groups) + 1),
        "rlnVoltage": [group.voltage_kv for group in groups],
        "rlnSphericalAberration": [group.spherical_aberration_mm for group in groups],
        "rlnAmplitudeContrast": [group.amplitude_contrast for group in groups],
        "rlnImagePixelSize": [group.pixel_size for group in groups],
        "rlnImageSize": [group.box_size for group in groups],
        "rlnImageDimensionality": [2] * len(groups),
    }
    if any(group.beam_tilt_mrad != (0.0, 0.0) for group in groups):
        needed["rlnBeamTiltX"] = [group.beam_tilt_mrad[0] for group in groups]
        needed["rlnBeamTiltY"] = [group.beam_tilt_mrad[1] for group in groups]
    for label, lists in (
        ("rlnOddZernike", [group.odd_zernike for group in groups]),
        ("rlnEvenZernike", [group.even_zernike for group in groups]),
    ):
        if any(lists):
            needed[label] = [f"[{','.join(map(repr, values))}]" for values in lists]
    identity = ((1.0, 0.0), (0.0, 1.0))
    if any(group.magnification_matrix != identity for group in groups):
        matrices = np.array([group.magnification_matrix for group in groups]).reshape(-1, 4)
        needed |= {label: matrices[:, i] for i, label in enumerate(_MATRIX)}
    if any(group.ctf_premultiplied for group in groups):
        needed["rlnCtfDataAreCtfPremultiplied"] = [int(g.ctf_premultiplied) for g in groups]
    return columns_of(read) | columns_of(
        {label: values for label, values in needed.items() if label not in read}
    )


def _zernike(table: StarColumns, label: str) -> list[tuple[float, ...]]:
    if label not in table:
        return [()] * len(table)
    lists = []
    for value in table.text(label):
        inner = str(value).strip("[]")
        try:
            coefficients = tuple(float(part) for part in inner.split(",") if part.strip())
        except ValueError:
            coefficients = (float("nan"),)
        if not np.isfinite(coefficients).all():
            raise StarFileError(
                f"{table.path} has _{label} = {value!r} in data_optics; wanted finite numbers as "
                "[a,b,c]; correct that value."
            )
        lists.append(coefficients)
    return lists
