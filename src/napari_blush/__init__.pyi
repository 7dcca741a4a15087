from napari_blush.data_model.particles import Particles as Particles
from napari_blush.data_model.settings import RefinementSettings as RefinementSettings
from napari_blush.denoiser.denoise_options import DenoiseOptions as DenoiseOptions
from napari_blush.denoiser.inference import denoise_volume as denoise_volume
from napari_blush.denoiser.weights import load_denoiser as load_denoiser
from napari_blush.io.cryosparc import read_cryosparc as read_cryosparc
from napari_blush.io.mrc import read_map as read_map
from napari_blush.io.mrc import write_map as write_map
from napari_blush.io.run_folder import RunWriter as RunWriter
from napari_blush.io.star import read_particles as read_particles
from napari_blush.io.star import write_particles as write_particles
from napari_blush.refine.events import IterationFinished as IterationFinished
from napari_blush.refine.events import Message as Message
from napari_blush.refine.keeping import RunKeeper as RunKeeper
from napari_blush.refine.keeping import last_state as last_state
from napari_blush.refine.run import run as run
from napari_blush.refine.steering import ChangeSettings as ChangeSettings
from napari_blush.refine.steering import FinishNow as FinishNow
from napari_blush.refine.steering import Steering as Steering
from napari_blush.validation.resolution import resolution_report as resolution_report

__version__: str
__all__: list[str]
