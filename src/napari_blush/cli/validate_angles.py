"""``napari-blush validate angles``: views and poses of refined particles.

``particles_that_disagree.star`` lists them where likelihoods are known.
"""

from argparse import Namespace

from napari_blush.cli.report import Report
from napari_blush.cli.validate_files import finish, make_folder
from napari_blush.data_model.validation_settings import AngleSettings
from napari_blush.io.star_table import StarBlock
from napari_blush.io.star_text import write_star
from napari_blush.validation.judged_poses import judged_poses


def execute(settings: AngleSettings, options: Namespace) -> int:
    """Judge the poses that ``options`` names; return the exit code."""
    found = judged_poses(options.poses, settings.symmetry, settings.healpix_order)
    make_folder(options.output)
    written = []
    if found.certainty is not None and bool(found.certainty.outliers.any()):
        path = options.output / "particles_that_disagree.star"
        rows = found.certainty.outliers.numpy()
        columns = {name: values[rows] for name, values in found.table.columns.items()}
        write_star(path, [StarBlock("particles", columns)])
        written.append(path)
    return finish(Report(), options.output, "Views and poses", [found.section], written)
