"""The exceptions of the package: one root, one child per thing that can be wrong.

None derives from ``RuntimeError``: the thread bridge of the plugin's toolkit swallows those, and
every failure of the tensor library is one, so ours must stay distinguishable.
A message has three parts: what was given, what was wanted, what to do.
"""


class BlushError(Exception):
    """Root of all errors that this package raises on purpose."""


class StarFileError(BlushError):
    """A STAR or ``.cs`` metadata file is missing, malformed, or lacks what is needed."""


class MrcFileError(BlushError):
    """A map or an image stack is missing, truncated, or not what it was taken for."""


class AtomicModelError(BlushError):
    """A PDB or mmCIF file cannot be read or holds no atoms."""


class WeightsError(BlushError):
    """Denoiser weights are missing, fail their checksum, or hold more than tensors."""


class SettingsError(BlushError):
    """A setting is out of range, unknown, or contradicts another."""


class RefinementError(BlushError):
    """A refinement cannot start or cannot go on."""


class RunFolderError(BlushError):
    """A run folder is in use, not writable, incomplete, or of another run."""


class TrainingError(BlushError):
    """Half-maps cannot be trained on, or a training cannot start or go on."""


class ExportError(BlushError):
    """A plot cannot be saved as asked."""
