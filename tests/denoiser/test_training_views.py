"""Equations 1 to 3 against their plain, written-out form; halves never meet within one."""

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from napari_blush.denoiser.local_std import local_standard_deviation
from napari_blush.denoiser.network import BlockPrediction, BlushUNet
from napari_blush.denoiser.training.augmentation import (
    Augmentation,
    cube_rotations,
    random_covariance,
)
from napari_blush.denoiser.training.local_std_blocks import (
    block_local_std,
    margin_of,
    mean_local_std,
)
from napari_blush.denoiser.training.loss import first_inputs, recycle, training_loss
from napari_blush.denoiser.training.pairs import PairInfo, TrainingPair, prepare_pair
from napari_blush.denoiser.training.views import ViewMaker, Views
from napari_blush.numerics.masks import soft_sphere
from napari_blush.numerics.rotations import random_rotations
from napari_blush.numerics.shells import shell_mean, shell_sum, spectrum_to_grid

N, BLOCK, VOXEL = 20, 8, 6.0
CENTER = (9, 11, 10)
Array = npt.NDArray[np.float64]


def toy_pair(seed: int = 0, *, other_half2: bool = False) -> TrainingPair:
    generator = torch.Generator().manual_seed(seed)
    signal = soft_sphere(N, 4, 3).roll((1, -1, 2), (0, 1, 2))
    half1 = signal + 0.2 * torch.randn(N, N, N, generator=generator)
    half2 = signal + 0.2 * torch.randn(N, N, N, generator=generator)
    if other_half2:
        half2 = signal + 0.2 * torch.randn(N, N, N, generator=generator)
    return prepare_pair(PairInfo("toy", VOXEL, "", "train"), half1, half2, soft_sphere(N, 6, 3))


def draw(
    seed: int, *, noise: float = 0.0, cutoff: float = 0.0, sphere: float = 0.0
) -> Augmentation:
    generator = torch.Generator().manual_seed(seed)
    return Augmentation(
        torch.tensor([CENTER]),
        random_rotations(1, generator).float(),
        torch.rand(1, 3, generator=generator) - 0.5,
        torch.tensor([True]),
        random_covariance(torch.tensor([15.0]), 0.3, generator),
        random_covariance(torch.tensor([15.0]), 0.1, generator),
        torch.tensor([cutoff]),
        torch.tensor([[noise, noise]]),
        torch.tensor([sphere]),
    )


def make(pair: TrainingPair, drawn: Augmentation, seed: int = 0) -> Views:
    maker = ViewMaker(BLOCK, VOXEL, torch.device("cpu"))
    return maker.make([pair], drawn, torch.Generator().manual_seed(seed))


def slow_view(volume: Tensor, drawn: Augmentation, covariance: Tensor, size: int) -> Array:
    """H_{C,A} in full: pad, filter with a dense complex transform, rotate point by point, crop."""
    w = ViewMaker(BLOCK, VOXEL, torch.device("cpu")).window_size
    padded = np.zeros((3 * w,) * 3)
    padded[w : w + N, w : w + N, w : w + N] = volume.double().numpy()
    starts = [w + c - w // 2 for c in CENTER]
    window = padded[tuple(slice(s, s + w) for s in starts)]
    k = np.fft.fftfreq(w, VOXEL)
    kz, ky, kx = np.meshgrid(k, k, k, indexing="ij")
    vectors = np.stack([kx, ky, kz], axis=-1)
    exponent = np.einsum("...i,ij,...j->...", vectors, covariance[0].double().numpy(), vectors)
    factor = np.exp(-0.5 * exponent)
    if drawn.cutoff[0] > 0:
        radius = np.linalg.norm(vectors, axis=-1) * w * VOXEL
        edge = np.clip((radius - w * VOXEL / float(drawn.cutoff[0])) / 2 + 0.5, 0, 1)
        factor = factor * (0.5 + 0.5 * np.cos(np.pi * edge))
    for component in (kx, ky, kz):
        factor = factor * np.sqrt(3 / (2 + np.cos(2 * np.pi * component * VOXEL)))
    filtered = np.fft.ifftn(np.fft.fftn(window) * factor).real
    rotation, shift = drawn.rotation[0].double().numpy(), drawn.shift[0].double().numpy()
    result = np.zeros((size,) * 3)
    for place in np.ndindex(size, size, size):
        xyz = np.array(place[::-1]) - size // 2
        x, y, z = rotation @ xyz + shift + w // 2
        result[place] = ndimage.map_coordinates(filtered, [[z], [y], [x]], order=1)[0]
    return result


# A wave at Nyquist has no sign, so that there a filter of slanted axes is not defined: without a
# cutoff the two ways to compute it differ on these planes.
@pytest.mark.parametrize(("cutoff", "tolerance"), [(0.0, 2e-2), (12.9, 2e-3), (20.0, 2e-3)])
def test_views_are_equations_1_and_2(cutoff: float, tolerance: float) -> None:
    pair, drawn = toy_pair(), draw(3, cutoff=cutoff)
    views = make(pair, drawn)
    margin = margin_of(VOXEL)
    inner = slice(margin, margin + BLOCK)
    scales = []
    for half in range(2):
        given = slow_view(pair.halves[half], drawn, drawn.input_covariance, BLOCK)
        target = slow_view(pair.targets[half], drawn, drawn.target_covariance, BLOCK)
        found_input = views.context[half, 0, inner, inner, inner].double().numpy()
        found_target = views.targets[half, 0].double().numpy()
        scales += [np.vdot(given, found) / np.vdot(given, given) for found in (found_input,)]
        scales += [np.vdot(target, found_target) / np.vdot(target, target)]
        assert (
            np.abs(found_input - scales[-2] * given).max() < tolerance * np.abs(found_input).max()
        )
        assert (
            np.abs(found_target - scales[-1] * target).max()
            < tolerance * np.abs(found_target).max()
        )
    # One scale for the four of them: the deviation of the pair of targets.
    assert np.ptp(scales) < tolerance * scales[0]


def test_targets_have_unit_deviation_on_the_particle() -> None:
    pair = toy_pair()
    nothing = draw(3)
    still = Augmentation(
        torch.tensor([[N // 2] * 3]),
        torch.eye(3)[None],
        torch.zeros(1, 3),
        torch.tensor([False]),
        *(torch.zeros(1, 3, 3) for _ in range(2)),
        nothing.cutoff,
        nothing.noise,
        nothing.sphere,
    )
    views = make(pair, still)
    ours = pair.targets.float()[:, 6:14, 6:14, 6:14]
    ratio = views.targets[:, 0] / ours
    assert float(ratio.std() / ratio.mean()) < 1e-2
    weight = pair.mask.float()
    both = pair.targets.float()
    mean = (both * weight).sum() / (2 * weight.sum())
    deviation = (((both - mean).square() * weight).sum() / (2 * weight.sum())).sqrt()
    assert float(ratio.median() * deviation) == pytest.approx(1, rel=0.02)


def test_a_half_does_not_reach_the_views_of_the_other() -> None:
    drawn = draw(5, sphere=0.4)
    views, others = make(toy_pair(), drawn), make(toy_pair(other_half2=True), drawn)
    for ours, theirs in (
        (views.context[0], others.context[0]),
        (views.targets[0], others.targets[0]),
    ):
        scale = float((ours * theirs).sum() / theirs.square().sum())
        assert torch.allclose(ours, scale * theirs, atol=2e-4)
    assert not torch.allclose(views.context[1], others.context[1], atol=0.05)


def test_added_noise_is_in_the_inputs_alone_and_independent_in_the_halves() -> None:
    pair = toy_pair()
    plain, noisy = make(pair, draw(7)), make(pair, draw(7, noise=1.0))
    assert torch.equal(plain.targets, noisy.targets)
    added = (noisy.context - plain.context).flatten(1)
    assert float(added.std()) > 0.1
    correlation = torch.corrcoef(added)[0, 1]
    assert abs(float(correlation)) < 0.3


def test_the_sphere_leaves_the_particle_and_masks_the_input() -> None:
    pair = toy_pair()
    views = make(pair, draw(9, sphere=1e-3))
    free = make(pair, draw(9))
    assert bool((free.support == 1).all())
    assert float(views.support[views.mask > 0.6].min()) > 0.8
    inputs = first_inputs(views, VOXEL)
    margin = margin_of(VOXEL)
    inner = slice(margin, margin + BLOCK)
    bare = views.context[:, 0, inner, inner, inner]
    assert torch.allclose(inputs.density, bare * views.support)


def test_block_local_std_is_that_of_the_whole_map(generator: torch.Generator) -> None:
    volume = torch.randn(2, 20, 20, 20, generator=generator)
    whole = local_standard_deviation(volume, VOXEL)
    margin = margin_of(VOXEL)
    context = volume[
        :, 6 - margin : 14 + margin, 6 - margin : 14 + margin, 6 - margin : 14 + margin
    ]
    mean = mean_local_std(volume, torch.ones_like(volume), VOXEL, 1)
    ours = block_local_std(context, VOXEL) / mean[:, None, None, None]
    assert torch.allclose(ours, whole[:, 6:14, 6:14, 6:14], atol=1e-5)
    coarse = mean_local_std(volume, torch.ones_like(volume), VOXEL, 2)
    assert torch.allclose(coarse, mean, rtol=0.05)


class _Scaled(nn.Module):
    """A network of one weight: multiplies, and has that weight as its logit."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, density: Tensor, local_std: Tensor) -> BlockPrediction:
        return BlockPrediction(self.factor * density, self.factor.expand(density.shape))


@pytest.mark.parametrize("recycled", [0, 1, 3])
def test_the_loss_is_equation_3_across_the_halves(recycled: int) -> None:
    views = make(toy_pair(), draw(11, noise=0.5, sphere=0.5))
    network = _Scaled(0.7)
    terms = training_loss(network, views, recycled, VOXEL, 0.1)
    margin = margin_of(VOXEL)
    inner = slice(margin, margin + BLOCK)
    inputs = [views.context[h, 0, inner, inner, inner] * views.support[0] for h in range(2)]
    expected, slope = 0.0, 0.0
    for k in range(2):
        given = inputs[1 - k]
        for _ in range(recycled):
            given = 0.7 * given * views.support[0]
        difference = views.targets[k, 0] - 0.7 * given
        expected += float((views.weight[0] * difference.square()).mean()) / 2
        slope += float((views.weight[0] * -2 * difference * given).mean()) / 2
    assert float(terms.density) == pytest.approx(expected, rel=1e-5)
    logit = 0.7
    entropy = views.weight[0] * (math.log1p(math.exp(logit)) - logit * views.mask[0])
    assert float(terms.mask) == pytest.approx(float(entropy.mean()), rel=1e-4)
    assert float(terms.total.detach()) == pytest.approx(
        expected + 0.1 * float(entropy.mean()), rel=1e-4
    )
    # Gradients pass through the last call alone: the input of that is a constant.
    torch.autograd.backward(terms.total)
    sigmoid = 1 / (1 + math.exp(-logit))
    mask_slope = float((views.weight[0] * (sigmoid - views.mask[0])).mean())
    assert network.factor.grad is not None
    assert float(network.factor.grad) == pytest.approx(slope + 0.1 * mask_slope, rel=1e-3)


def test_the_same_half_would_give_another_loss() -> None:
    views = make(toy_pair(), draw(11))
    crossed = training_loss(_Scaled(1.0), views, 0, VOXEL, 0.0)
    swapped = views.targets.flip(0)
    same = training_loss(
        _Scaled(1.0),
        Views(views.context, swapped, views.mask, views.weight, views.support, views.mean_std,
              views.recycled_mean_std),
        0, VOXEL, 0.0,
    )  # fmt: skip
    assert float(crossed.identity) > 1.5 * float(same.identity)


def test_recycling_is_without_dropout_and_leaves_the_network_in_training() -> None:
    views = make(toy_pair(), draw(13))
    network = BlushUNet(4, 2, dropout=0.9)
    inputs = first_inputs(views, VOXEL)
    once, again = (recycle(network, inputs, views, 2, VOXEL) for _ in range(2))
    assert torch.equal(once.density, again.density)
    assert network.training
    assert not once.density.requires_grad
    unchanged = recycle(network, inputs, views, 0, VOXEL)
    assert torch.equal(unchanged.density, inputs.density)


@pytest.mark.cuda
def test_views_are_the_same_on_a_gpu() -> None:
    pair, drawn = toy_pair(), draw(3, cutoff=20.0, sphere=0.3)
    expected = make(pair, drawn)
    device = torch.device("cuda")
    maker = ViewMaker(BLOCK, VOXEL, device)
    for given in (pair, pair.to(device)):
        found = maker.make([given], drawn, torch.Generator().manual_seed(0))
        for name in Views.__slots__:
            ours = getattr(found, name)
            assert ours.device.type == "cuda"
            assert torch.allclose(ours.cpu(), getattr(expected, name), atol=1e-3), name
    noisy = maker.make([pair], draw(3, noise=1.0), torch.Generator().manual_seed(0))
    again = maker.make([pair], draw(3, noise=1.0), torch.Generator().manual_seed(0))
    assert torch.equal(noisy.context, again.context)


def still(rotation: Tensor, *, noise: tuple[float, float] = (0.0, 0.0)) -> Augmentation:
    """Return an augmentation that filters nothing and takes voxels to voxels."""
    return Augmentation(
        torch.tensor([CENTER]),
        rotation[None],
        torch.zeros(1, 3),
        torch.tensor([False]),
        torch.zeros(1, 3, 3),
        torch.zeros(1, 3, 3),
        torch.zeros(1),
        torch.tensor([noise]),
        torch.zeros(1),
    )


def test_rotations_of_the_cube_copy_voxels(generator: torch.Generator) -> None:
    pair = toy_pair()
    for rotation in cube_rotations(4, generator):
        views = make(pair, still(rotation))
        ratio = 0.0
        for place in [(0, 0, 0), (1, 5, 2), (7, 3, 6), (4, 4, 4)]:
            xyz = torch.tensor(place).flip(0).float() - BLOCK // 2
            z, y, x = (torch.tensor(CENTER) + (rotation @ xyz).flip(0)).long().tolist()
            expected = float(pair.targets[0, z, y, x])
            found = float(views.targets[0, 0][place])
            ratio = ratio or found / expected
            assert found == pytest.approx(ratio * expected, rel=2e-3, abs=2e-3)


def test_added_noise_has_the_amplitude_of_the_map_times_the_ramp() -> None:
    pair = toy_pair()
    eye = torch.eye(3)
    plain = make(pair, still(eye))
    added = torch.stack(
        [
            make(pair, still(eye, noise=(0.5, 2.0)), seed=seed).context - plain.context
            for seed in range(40)
        ]
    )
    w = ViewMaker(BLOCK, VOXEL, torch.device("cpu")).window_size
    padded = torch.nn.functional.pad(pair.halves.float(), (w,) * 6)
    z, y, x = (w + c - w // 2 for c in CENTER)
    window = padded[:, z : z + w, y : y + w, x : x + w]
    power = shell_mean(torch.fft.rfftn(window.mean(dim=0)).abs().square(), w, 3)
    ramp = 0.5 + 1.5 * torch.linspace(0, 1, len(power))
    variance = float(shell_sum(spectrum_to_grid(power * ramp**2, w, 3), w, 3).sum()) / w**6
    scale = float(plain.targets[:, 0].norm() / slow_targets(pair).norm())
    assert float(added.var()) == pytest.approx(scale**2 * variance, rel=0.1)


def slow_targets(pair: TrainingPair) -> Tensor:
    """Return the targets of a block that nothing was done to."""
    z, y, x = (c - BLOCK // 2 for c in CENTER)
    return pair.targets.float()[:, z : z + BLOCK, y : y + BLOCK, x : x + BLOCK]


def test_scale_and_offset_of_a_block_pass_through_the_network(generator: torch.Generator) -> None:
    network = BlushUNet(4, 2).eval()
    blocks, local_std = (torch.rand(1, 8, 8, 8, generator=generator) for _ in range(2))
    with torch.no_grad():
        expected = 3 * network(blocks, local_std).denoised - 7
        assert torch.allclose(network(3 * blocks - 7, local_std).denoised, expected, atol=1e-3)
