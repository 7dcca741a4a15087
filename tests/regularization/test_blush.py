"""Half-maps denoised: grey scale, cut-off, symmetry, what is said, and what is left alone."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from napari_blush.data_model.settings import RefinementSettings
from napari_blush.denoiser.denoise_options import DenoiseOptions
from napari_blush.denoiser.inference import denoise_volume
from napari_blush.denoiser.network import BlushUNet
from napari_blush.denoiser.weights import save_denoiser
from napari_blush.errors import WeightsError
from napari_blush.numerics.filters import apply_spectrum, low_pass_at_shell
from napari_blush.numerics.map_symmetry import rotate_map
from napari_blush.numerics.masks import soft_sphere
from napari_blush.numerics.point_group import symmetry_operators
from napari_blush.regularization import denoised_maps
from napari_blush.regularization.blush import UNSAFE, BlushRegularizer, blush_of_settings
from napari_blush.regularization.classification import ClassBlush, ClassMap
from napari_blush.regularization.guard import regularized
from napari_blush.regularization.registry import make_regularizer
from napari_blush.regularization.shell_gain import shell_gain
from napari_blush.regularization.spectral_trailing import Trailing, cutoff_shell

CPU = torch.device("cpu")
CUTOFF = 7


@pytest.fixture
def given(pair):
    """The noisy pair with a curve that ends at a known shell."""
    fsc = (torch.arange(17) < CUTOFF + 2).float()
    return replace(pair.given, fsc=fsc)


@pytest.fixture
def identity(make_denoiser):
    return make_denoiser(lambda blocks: blocks)


def made_of(regularizer, given, drain):
    """What comes through the guard."""
    return drain(regularized(regularizer, given))[1]


def by_shell(volume: torch.Tensor) -> torch.Tensor:
    """Largest amplitude of each shell."""
    transform = torch.fft.fftn(volume).abs()
    axis = torch.fft.fftfreq(volume.shape[-1], 1 / volume.shape[-1])
    radius = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).norm(dim=0).round()
    return torch.stack([transform[radius == shell].max() for shell in range(17)])


def test_each_half_is_denoised_cut_off_and_nothing_else(given, identity, drain) -> None:
    """With a denoiser that does nothing the reference is the low-passed unfiltered half."""
    made = made_of(BlushRegularizer(identity, gain=False), given, drain)
    options = DenoiseOptions(particle_diameter=given.particle_diameter)
    for half, reference, denoised in zip(
        (given.unfiltered.half1, given.unfiltered.half2),
        made.references,
        made.denoised,
        strict=True,
    ):
        expected = denoise_volume(half, 4.0, identity, options).volume
        assert torch.equal(denoised, expected)
        inside = soft_sphere(32, 9.0, 0.0) > 0
        assert torch.allclose(denoised[inside], half[inside], atol=2e-3)
        assert torch.allclose(reference, low_pass_at_shell(expected, CUTOFF), atol=1e-6)
    assert made.cutoff_shell == CUTOFF


def test_nothing_passes_the_cutoff(given, identity, drain) -> None:
    made = made_of(BlushRegularizer(identity), given, drain)
    for reference in made.references:
        amplitude = by_shell(reference)
        assert float(amplitude[: CUTOFF + 1].min()) > 1e-1
        assert float(amplitude[CUTOFF + 2 :].max()) < 1e-3 * float(amplitude.max())


@pytest.mark.parametrize("gain", [True, False])
def test_the_grey_scale_is_that_of_the_truth(pair, drain, gain: bool) -> None:
    """A linear denoiser that knows the signal-to-noise ratio: SNR / (1 + SNR) of the truth."""
    given = replace(pair.given, particle_diameter=85.0)
    made = made_of(BlushRegularizer(pair.wiener(64, 3.0), gain=gain), given, drain)
    inside = soft_sphere(32, 10.0, 3.0)
    truth = torch.fft.fftn(pair.density * inside)
    axis = torch.fft.fftfreq(32, 1 / 32)
    shells = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).norm(dim=0).round()
    expected = pair.ratio / (1 + pair.ratio)
    assert cutoff_shell(given.fsc, 3) == 9
    allowed = 0.13 if gain else 0.08  # the gain is measured, on a few hundred coefficients
    for reference, wiener in zip(
        made.references, (given.wiener.half1, given.wiener.half2), strict=True
    ):
        seen, base = (torch.fft.fftn(volume * inside) for volume in (reference, wiener))
        for shell in range(2, 8):  # signal above noise; shell 1 has few coefficients
            here = shells == shell
            energy = (truth[here].abs() ** 2).sum()
            there = float((seen[here] * truth[here].conj()).real.sum() / energy)
            baseline = float((base[here] * truth[here].conj()).real.sum() / energy)
            assert there == pytest.approx(float(expected[shell]), abs=allowed), shell
            assert there == pytest.approx(baseline, abs=allowed), shell


def test_the_scale_of_the_data_is_carried_through(given, drain) -> None:
    """A random network: all of its nonlinearity is inside standardized blocks."""
    torch.manual_seed(0)

    class Random:
        network = BlushUNet(width=2, depth=2).eval().requires_grad_(False)
        voxel_size, block_size = 4.0, 16

    made = made_of(BlushRegularizer(Random()), given, drain)
    scaled = replace(
        given,
        unfiltered=replace(
            given.unfiltered,
            half1=1000 * given.unfiltered.half1,
            half2=1000 * given.unfiltered.half2,
        ),
    )
    louder = made_of(BlushRegularizer(Random()), scaled, drain)
    for quiet, loud in zip(made.references, louder.references, strict=True):
        assert torch.allclose(1000 * quiet, loud, rtol=1e-3, atol=1e-2 * float(loud.std()))


def test_beyond_the_denoiser_the_wiener_map_takes_over(pair, make_denoiser, drain) -> None:
    """A denoiser of 8 A voxels has its Nyquist frequency at shell 8, where the FSC is still 1."""
    silent = make_denoiser(torch.zeros_like, voxel_size=8.0)
    given = replace(pair.given, fsc=(torch.arange(17) < 14).float())
    made = made_of(BlushRegularizer(silent), given, drain)
    assert made.cutoff_shell == 6
    for reference, wiener in zip(
        made.references, (given.wiener.half1, given.wiener.half2), strict=True
    ):
        rest = wiener - low_pass_at_shell(wiener, 6)
        assert torch.allclose(reference - reference.mean(), rest - rest.mean(), atol=1e-4)


@pytest.mark.parametrize("symbol", ["C4", "D2", "C3"])
def test_symmetry_is_imposed_again(given, make_denoiser, drain, symbol: str) -> None:
    """A denoiser that darkens one side of every block."""
    ramp = torch.linspace(0, 1, 16)
    lopsided = make_denoiser(lambda blocks: blocks * ramp)
    operators = symmetry_operators(symbol)
    with_group = replace(given, symmetry_operators=operators)
    plain = made_of(BlushRegularizer(lopsided), given, drain)
    made = made_of(BlushRegularizer(lopsided), with_group, drain)
    inside = soft_sphere(32, 9.0, 3.0)

    def asymmetry(volume: torch.Tensor) -> float:
        volume = low_pass_at_shell(volume, 5) * inside
        turned = rotate_map(volume, operators[1])
        return float((turned - volume).norm() / volume.norm())

    for number in (0, 1):
        assert asymmetry(plain.references[number]) > 0.3
        assert asymmetry(made.references[number]) < (0.02 if symbol == "C3" else 1e-3)


def test_halves_do_not_know_of_each_other(given, identity, drain) -> None:
    other = replace(given, unfiltered=replace(given.unfiltered, half2=-given.unfiltered.half1))
    first = made_of(BlushRegularizer(identity, gain=False), given, drain)
    second = made_of(BlushRegularizer(identity, gain=False), other, drain)
    assert torch.equal(first.references[0], second.references[0])
    assert not torch.equal(first.references[1], second.references[1])


def test_one_number_for_each_shell_is_all_that_passes_between_halves(
    given, identity, drain
) -> None:
    made = made_of(BlushRegularizer(identity), given, drain)
    plain = made_of(BlushRegularizer(identity, gain=False), given, drain)
    gain = shell_gain(plain.denoised, (given.unfiltered.half1, given.unfiltered.half2))
    for number in (0, 1):
        assert torch.equal(made.denoised[number], plain.denoised[number])
        expected = apply_spectrum(plain.references[number], gain)
        assert torch.allclose(made.references[number], expected, atol=1e-5)


def test_the_weights_of_a_bad_denoiser_do_not_matter_for_the_scale(
    given, make_denoiser, drain
) -> None:
    """Half of everything, or twice everything: the other half puts it right."""
    made = [
        made_of(BlushRegularizer(make_denoiser(lambda blocks, f=factor: f * blocks)), given, drain)
        for factor in (0.7, 1.0, 1.6)
    ]
    for other in (made[0], made[2]):
        difference = other.references[0] - made[1].references[0]
        assert float(difference.std()) < 0.02 * float(made[1].references[0].std())


def test_it_says_how_far_it_is(given, identity, drain) -> None:
    regularizer = BlushRegularizer(identity, DenoiseOptions(batch_size=1))
    progress, _ = drain(regularizer.regularize(given))
    done = [step.done for step in progress]
    assert done[0] == 0
    assert done[-1] == 1
    assert all(later >= sooner for sooner, later in pairwise(done))
    assert len(done) > 4
    assert {step.what for step in progress} == {"denoising half 1", "denoising half 2"}


def test_closing_stops_within_a_batch(given, make_denoiser) -> None:
    calls = []

    def counted(blocks: torch.Tensor) -> torch.Tensor:
        calls.append(len(blocks))
        return blocks

    regularizer = BlushRegularizer(make_denoiser(counted), DenoiseOptions(batch_size=1))
    steps = regularizer.regularize(given)
    while not calls:
        next(steps)
    steps.close()
    assert calls == [1]


def test_the_weights_are_named_once_and_trailing_off_is_told_as_unsafe(
    given, identity, drain
) -> None:
    regularizer = BlushRegularizer(identity, label="somebody's 2", trailing=False, gain=False)
    first, second = (made_of(regularizer, given, drain) for _ in range(2))
    assert first.messages[0] == "Half-maps are denoised with somebody's 2."
    assert UNSAFE in first.messages
    assert second.messages == ()
    assert first.cutoff_shell is None
    assert torch.equal(first.references[0], first.denoised[0])


def test_halves_that_agree_nowhere_leave_what_they_share(given, identity, drain) -> None:
    lost = replace(given, fsc=(torch.arange(17) < 2).float())
    made = made_of(BlushRegularizer(identity), lost, drain)
    assert made.cutoff_shell == 4
    assert any("agree nowhere" in text and "32.0 A" in text for text in made.messages)
    made = made_of(BlushRegularizer(identity), replace(lost, shared_shell=7), drain)
    assert made.cutoff_shell == 6


def test_mask_and_diameter_reach_the_denoiser(given, identity, drain, monkeypatch) -> None:
    seen = []

    def watched(volume, voxel_size, denoiser, options):
        seen.append(options)
        return steps(volume, voxel_size, denoiser, options)

    steps = denoised_maps.denoise_steps
    monkeypatch.setattr(denoised_maps, "denoise_steps", watched)
    mask = soft_sphere(32, 8.0, 3.0)
    options = DenoiseOptions(stride=5, precision="float32")
    masked = replace(given, mask=mask, particle_diameter=70.0)
    made_of(BlushRegularizer(identity, options), masked, drain)
    assert seen == [replace(options, mask=mask, particle_diameter=70.0)] * 2


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("nyquist_voxel", [4.0, 8.0], ids=["trailing", "filled"])
def test_the_strength_blends_denoised_and_wiener_map(
    pair, make_denoiser, drain, strength: float, nyquist_voxel: float
) -> None:
    """X (s D + (1 - s) W), and beyond the denoiser's reach (1 - X) W as well."""
    shells = 14 if nyquist_voxel == 8.0 else CUTOFF + 2
    given = replace(pair.given, fsc=(torch.arange(17) < shells).float())
    denoiser = make_denoiser(lambda blocks: 0.5 * blocks.roll(1, -1), voxel_size=nyquist_voxel)
    made = made_of(BlushRegularizer(denoiser, strength=strength, gain=False), given, drain)
    cutoff = made.cutoff_shell
    assert cutoff == (6 if nyquist_voxel == 8.0 else CUTOFF)
    assert made.automatic_cutoff_shell == cutoff
    axis = torch.fft.fftfreq(32, 1 / 32)
    radius = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).norm(dim=0)
    ramp = 0.5 + 0.5 * torch.cos(torch.pi / 2 * (radius - cutoff + 1).clamp(0, 2))
    for reference, wiener, denoised in zip(
        made.references, (given.wiener.half1, given.wiener.half2), made.denoised, strict=True
    ):
        transform = ramp * torch.fft.fftn(strength * denoised + (1 - strength) * wiener)
        if nyquist_voxel == 8.0:
            transform = transform + (1 - ramp) * torch.fft.fftn(wiener)
        expected = torch.fft.ifftn(transform).real
        assert torch.allclose(reference, expected, atol=1e-5)


def test_a_limit_lower_than_the_automatic_one_is_kept(given, identity, drain) -> None:
    # 128 A over shell 5.
    regularizer = BlushRegularizer(identity, trailing=Trailing(limit_angstrom=25.0), gain=False)
    made = made_of(regularizer, given, drain)
    assert (made.cutoff_shell, made.automatic_cutoff_shell) == (5, CUTOFF)
    assert torch.allclose(made.references[0], low_pass_at_shell(made.denoised[0], 5), atol=1e-6)
    assert not any("no effect" in text for text in made.messages)


def test_a_limit_without_effect_is_told_once(given, identity, drain) -> None:
    regularizer = BlushRegularizer(identity, trailing=Trailing(limit_angstrom=10.0))
    first, second = (made_of(regularizer, given, drain) for _ in range(2))
    assert first.cutoff_shell == CUTOFF
    told = (
        "The trailing limit of 10.0 A has no effect: the FSC cuts denoised references off at 18.3 A"
    )
    assert [text.startswith(told) for text in first.messages] == [False, True]
    assert second.messages == ()


def test_fewer_shells_than_two_are_told_as_unsafe(given, identity, drain) -> None:
    made = made_of(BlushRegularizer(identity, trailing=Trailing(shells_short=1)), given, drain)
    assert made.cutoff_shell == CUTOFF + 1
    assert made.automatic_cutoff_shell == CUTOFF
    assert any("unsafe; wanted at least 2" in text for text in made.messages)
    wary = made_of(BlushRegularizer(identity, trailing=Trailing(shells_short=4)), given, drain)
    assert wary.cutoff_shell == CUTOFF - 2
    assert not any("unsafe" in text for text in wary.messages)


# waiting ------------------------------------------------------------------------------------


class Refusing:
    """A denoiser that must not be asked."""

    voxel_size, block_size = 4.0, 16

    @staticmethod
    def network(blocks: torch.Tensor) -> torch.Tensor:
        raise AssertionError("denoised before the halves agreed")


def with_agreement_to(shell: int, given):
    """The pair with halves that agree up to a shell, 128 A over its number."""
    return replace(given, fsc=(torch.arange(17) <= shell).float())


def test_nothing_is_denoised_until_the_halves_agree_far_enough(given, drain) -> None:
    regularizer = BlushRegularizer(Refusing(), from_angstrom=15.0)
    made = made_of(regularizer, with_agreement_to(8, given), drain)  # 16 A
    assert torch.equal(made.references[0], given.wiener.half1)
    assert torch.equal(made.references[1], given.wiener.half2)
    assert made.denoised is None
    assert made.cutoff_shell is None
    (told,) = made.messages
    assert "agree to 16.0 A" in told
    assert "agree to 15 A" in told
    again = made_of(regularizer, with_agreement_to(7, given), drain)
    assert again.messages == ()


@pytest.mark.parametrize("wanted", [16.0, None])
def test_what_agrees_far_enough_is_denoised_as_without_waiting(
    given, identity, drain, wanted: float | None
) -> None:
    """A resolution of just so many angstrom is far enough."""
    agreeing = with_agreement_to(8, given)
    made = made_of(BlushRegularizer(identity, from_angstrom=wanted), agreeing, drain)
    expected = made_of(BlushRegularizer(identity), agreeing, drain)
    assert made.denoised is not None
    assert torch.equal(made.references[0], expected.references[0])
    assert torch.equal(made.references[1], expected.references[1])
    assert made.cutoff_shell == expected.cutoff_shell


def test_a_run_that_falls_back_waits_again_and_says_so(given, identity, drain) -> None:
    regularizer = BlushRegularizer(identity, from_angstrom=15.0)
    shells = (5, 9, 5)
    made = [made_of(regularizer, with_agreement_to(shell, given), drain) for shell in shells]
    assert [one.denoised is None for one in made] == [True, False, True]
    assert [any("Wiener maps" in text for text in one.messages) for one in made] == [
        True,
        False,
        True,
    ]


# by name --------------------------------------------------------------------------------------


@pytest.fixture
def weights(tmp_path):
    """A file of random weights of a small network."""
    torch.manual_seed(1)
    path = tmp_path / "small.safetensors"
    fields = {"name": "small", "version": "3", "voxel_size": 4.0, "block_size": 16}
    save_denoiser(path, BlushUNet(width=2, depth=2), fields)
    return path


def test_the_settings_name_the_weights(weights, given, drain) -> None:
    settings = RefinementSettings(
        regularizer="blush", denoiser=str(weights), denoiser_stride=8, denoise_from=None
    )
    made = make_regularizer(settings, CPU)
    assert isinstance(made, BlushRegularizer)
    checksum = made.provenance.removeprefix("small 3, sha256 ")
    assert len(checksum) == 64
    result = made_of(made, given, drain)
    assert f"small 3 (sha256 {checksum[:12]}" in result.messages[0]
    assert result.cutoff_shell == CUTOFF
    others = {
        "trailing_shells": 3,
        "trailing_limit": 26.0,
        "trailing_fill": True,
        "denoise_from": 1.0,
        "denoiser_strength": 0.5,
    }
    for name, value in others.items():
        other = settings.model_copy(update={name: value})
        changed = made_of(make_regularizer(other, CPU), given, drain)
        assert not torch.equal(changed.references[0], result.references[0]), name
    again = made_of(make_regularizer(settings, CPU), given, drain)
    assert torch.equal(result.references[0], again.references[0])


def test_beyond_the_cut_off_the_wiener_map_goes_on_where_asked(given, make_denoiser, drain) -> None:
    doubling = make_denoiser(lambda blocks: 2 * blocks)
    made = {
        fill: made_of(BlushRegularizer(doubling, trailing=Trailing(is_filled=fill)), given, drain)
        for fill in (False, True)
    }
    assert made[True].cutoff_shell == made[False].cutoff_shell == CUTOFF
    wiener = (given.wiener.half1, given.wiener.half2)
    for half in (0, 1):
        added = made[True].references[half] - made[False].references[half]
        expected = wiener[half] - low_pass_at_shell(wiener[half], CUTOFF)
        assert expected.abs().max() > 1e-3
        assert torch.allclose(added, expected, atol=1e-5)


def test_missing_weights_are_told_before_anything_is_computed(tmp_path) -> None:
    settings = RefinementSettings(regularizer="blush", denoiser=str(tmp_path / "no.safetensors"))
    with pytest.raises(WeightsError):
        blush_of_settings(settings, CPU)


# classification -------------------------------------------------------------------------------


def class_map(given, operators=None) -> ClassMap:
    return ClassMap(
        given.wiener.half1,
        4.0,
        given.particle_diameter,
        None,
        given.symmetry_operators if operators is None else operators,
    )


def test_a_class_is_denoised_without_trailing(given, make_denoiser, drain) -> None:
    """The crossover lies one shell before the Nyquist frequency, whatever the FSC of anything."""
    doubling = make_denoiser(lambda blocks: 2 * blocks, voxel_size=6.4)
    progress, made = drain(ClassBlush(doubling).regularize(class_map(given)))
    options = DenoiseOptions(particle_diameter=given.particle_diameter)
    denoised = denoise_volume(given.wiener.half1, 4.0, doubling, options).volume
    assert made.crossover_shell == 9
    assert torch.equal(made.denoised, denoised)
    expected = low_pass_at_shell(denoised, 9) + given.wiener.half1
    expected = expected - low_pass_at_shell(given.wiener.half1, 9)
    assert torch.allclose(made.reference, expected, atol=1e-5)
    assert progress[-1].done == 1


def test_a_class_keeps_its_symmetry(given, make_denoiser, drain) -> None:
    ramp = torch.linspace(0, 1, 16)
    operators = symmetry_operators("C2")
    steps = ClassBlush(make_denoiser(lambda blocks: blocks * ramp)).regularize(
        class_map(given, operators)
    )
    _, made = drain(steps)
    assert torch.allclose(rotate_map(made.denoised, operators[1]), made.denoised, atol=1e-6)
