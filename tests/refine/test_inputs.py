"""Bad input is refused in one sentence before anything is computed; the rest is made to fit."""

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from napari_blush.data_model.particles import ImagesInMemory, Particles
from napari_blush.errors import BlushError, RefinementError, SettingsError
from napari_blush.numerics.correlation import fourier_shell_correlation
from napari_blush.numerics.masks import soft_sphere
from napari_blush.numerics.rotations import geodesic_distance_deg
from napari_blush.refine.checked_images import CheckedImages
from napari_blush.refine.events import IterationFinished, Message, RunStarted
from napari_blush.refine.inputs import checked_mask, checked_particles, checked_reference
from napari_blush.refine.run import run
from napari_blush.refine.schedule import Geometry
from napari_blush.simulation.phantoms import BlobPhantom


class CountedImages:
    """Images that know how often they were read."""

    def __init__(self, source) -> None:
        self.source = source
        self.reads = 0

    def __len__(self) -> int:
        return len(self.source)

    def read(self, indices):
        self.reads += 1
        return self.source.read(indices)


def refused(problem, settings, *, particles=None, start=None, **rest) -> str:
    """Return the sentence with which a run refuses; nothing may have been said before."""
    particles = problem.particles if particles is None else particles
    events = run(settings, particles, problem.start if start is None else start, **rest)
    with pytest.raises(BlushError) as caught:
        next(events)
    sentence = str(caught.value)
    assert len(sentence) < 350, sentence
    assert "\n" not in sentence
    return sentence


def with_images(particles: Particles, change) -> Particles:
    stack = particles.images.stack.clone()
    change(stack)
    return replace(particles, images=ImagesInMemory(stack))


def rows(particles: Particles, kept: torch.Tensor) -> Particles:
    """Some of the particles."""
    poses = particles.poses
    return replace(
        particles,
        images=ImagesInMemory(particles.images.stack[kept]),
        poses=replace(
            poses, rotations=poses.rotations[kept], shifts_angstrom=poses.shifts_angstrom[kept]
        ),
        **{
            name: getattr(particles, name)[kept]
            for name in (
                "optics_group_index",
                "defocus",
                "phase_shift_deg",
                "ctf_b_factor",
                "ctf_scale",
                "random_subset",
                "group_index",
                "norm_correction",
            )
        },
    )


# what is refused ------------------------------------------------------------------------------


def test_no_particles(tiny, settings_for) -> None:
    none = rows(tiny.particles, torch.arange(0))
    assert "There are no particles" in refused(tiny, settings_for(), particles=none)


def test_one_particle_makes_no_two_halves(tiny, settings_for) -> None:
    one = rows(tiny.particles, torch.arange(1))
    assert "wanted some in each" in refused(tiny, settings_for(), particles=one)


def test_an_empty_half(tiny, settings_for) -> None:
    ones = replace(tiny.particles, random_subset=torch.ones(70, dtype=torch.int64))
    sentence = refused(tiny, settings_for(), particles=ones)
    assert "70 and 0 of 70 particles" in sentence
    assert "rlnRandomSubset" in sentence


@pytest.mark.parametrize("odd", [0, 3])
def test_particles_of_neither_half(tiny, settings_for, odd: int) -> None:
    subset = 1 + torch.arange(70) % 2
    subset[:4] = odd
    sentence = refused(
        tiny, settings_for(), particles=replace(tiny.particles, random_subset=subset)
    )
    assert "4 of 70 particles belong to neither half" in sentence


def test_a_start_map_that_is_no_cube(tiny, settings_for) -> None:
    sentence = refused(tiny, settings_for(), start=(torch.ones(24, 24, 22), 6.0))
    assert "(24, 24, 22)" in sentence
    assert "cube" in sentence


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_start_map_with_holes(tiny, settings_for, bad: float) -> None:
    volume = tiny.density.clone()
    volume[3, 4, 5] = bad
    sentence = refused(tiny, settings_for(), start=(volume, 6.0))
    assert "start map" in sentence
    assert "not numbers" in sentence


def test_a_constant_start_map(tiny, settings_for) -> None:
    sentence = refused(tiny, settings_for(), start=(torch.full((24, 24, 24), 2.0), 6.0))
    assert "start map is constant" in sentence


@pytest.mark.parametrize("voxel_size", [0.0, -1.0, float("nan")])
def test_a_start_map_without_a_voxel_size(tiny, settings_for, voxel_size: float) -> None:
    assert "voxel size" in refused(tiny, settings_for(), start=(tiny.density, voxel_size))


def test_a_constant_image(tiny, settings_for) -> None:
    bad = with_images(tiny.particles, lambda stack: stack[11].fill_(4.0))
    assert "Image 12 is constant" in refused(tiny, settings_for(), particles=bad)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_an_image_with_holes(tiny, settings_for, value: float) -> None:
    bad = with_images(tiny.particles, lambda stack: stack[11, 3, 4].fill_(value))
    sentence = refused(tiny, settings_for(), particles=bad)
    assert "Image 12 holds values that are not numbers" in sentence


def test_an_image_with_holes_is_named_even_where_no_sample_saw_it() -> None:
    stack = torch.zeros(20, 4, 4)
    stack[17, 0, 0] = float("nan")
    images = CheckedImages(ImagesInMemory(stack))
    assert len(images) == 20
    images.read(torch.arange(10))
    with pytest.raises(RefinementError, match="Image 18 "):
        images.read(torch.tensor([3, 17, 2]))


def test_a_hole_that_appears_while_the_run_goes_on_stops_it(tiny, settings_for) -> None:
    stack = tiny.particles.images.stack.clone()
    events = run(settings_for(), replace(tiny.particles, images=ImagesInMemory(stack)), tiny.start)
    assert isinstance(next(events), RunStarted)
    stack[41, 0, 0] = float("nan")
    with pytest.raises(RefinementError, match="Image 42 "):
        list(events)


def test_images_of_another_width_than_the_table_says(tiny, settings_for) -> None:
    wrong = replace(
        tiny.particles,
        optics_groups=(replace(tiny.particles.optics_groups[0], box_size=32),),
    )
    sentence = refused(tiny, settings_for(), particles=wrong)
    assert "24 px wide" in sentence
    assert "32" in sentence


@pytest.mark.parametrize(("low", "high"), [(-0.5, 1.0), (0.0, 1.7)])
def test_a_mask_outside_its_range(tiny, settings_for, low: float, high: float) -> None:
    mask = torch.full((24, 24, 24), low)
    mask[6:18, 6:18, 6:18] = high
    sentence = refused(tiny, settings_for(), mask=(mask, 6.0))
    assert "mask has values" in sentence
    assert "0 to 1" in sentence


def test_an_empty_mask(tiny, settings_for) -> None:
    assert "mask is empty" in refused(tiny, settings_for(), mask=(torch.zeros(24, 24, 24), 6.0))


def test_a_mask_that_is_no_cube(tiny, settings_for) -> None:
    assert "mask has shape" in refused(tiny, settings_for(), mask=(torch.ones(24, 24, 2), 6.0))


@pytest.mark.parametrize("diameter", [144.0, 200.0])
def test_a_particle_larger_than_its_box(tiny, settings_for, diameter: float) -> None:
    sentence = refused(tiny, settings_for(particle_diameter=diameter))
    assert f"{diameter:g} A" in sentence
    assert "144 A" in sentence


def test_an_unknown_symmetry(tiny, settings_for) -> None:
    sentence = refused(tiny, settings_for(symmetry="Q7"))
    assert "Q7" in sentence
    assert "C" in sentence


def test_an_unknown_device(settings_for) -> None:
    with pytest.raises(ValidationError, match="device"):
        settings_for(device="abacus")


def test_a_device_that_is_not_there(tiny, settings_for, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    sentence = refused(tiny, settings_for(device="cuda"))
    assert "'cuda'" in sentence
    assert "cpu" in sentence


def test_an_unknown_regularizer(tiny, settings_for) -> None:
    sentence = refused(tiny, settings_for(regularizer="hope"))
    assert "'hope'" in sentence
    assert "smoothness" in sentence


@pytest.mark.parametrize("change", [{"pixel_size": 5.0}, {"box_size": 32}])
def test_optics_groups_that_differ(tiny, settings_for, change) -> None:
    first = tiny.particles.optics_groups[0]
    groups = (first, replace(first, name="other", **change))
    sentence = refused(
        tiny, settings_for(), particles=replace(tiny.particles, optics_groups=groups)
    )
    assert "'simulated'" in sentence
    assert "'other'" in sentence
    assert "cannot be refined together" in sentence


def test_images_multiplied_by_their_ctf(tiny, settings_for) -> None:
    group = replace(tiny.particles.optics_groups[0], ctf_premultiplied=True)
    sentence = refused(
        tiny, settings_for(), particles=replace(tiny.particles, optics_groups=(group,))
    )
    assert "CTF" in sentence


def test_a_local_search_around_nothing(tiny, settings_for) -> None:
    sentence = refused(tiny, settings_for(healpix_order=4, exhaustive_order=2))
    assert "no poses" in sentence


def test_refusals_come_before_the_work(tiny, settings_for) -> None:
    images = CountedImages(tiny.particles.images)
    refused(
        tiny,
        settings_for(symmetry="Q7"),
        particles=replace(tiny.particles, images=images),
    )
    assert images.reads <= 1  # the sample


def test_going_on_with_other_particles(tiny, whole_run, settings_for) -> None:
    state = next(event.state for event in whole_run if isinstance(event, IterationFinished))
    fewer = rows(tiny.particles, torch.arange(60))
    assert "70 particles" in refused(tiny, settings_for(), particles=fewer, resume_from=state)
    other = replace(tiny.particles, random_subset=3 - state.random_subset)
    assert "other random halves" in refused(
        tiny, settings_for(), particles=other, resume_from=state
    )


def test_a_state_of_the_same_particles_is_taken(tiny, whole_run, settings_for) -> None:
    state = next(event.state for event in whole_run if isinstance(event, IterationFinished))
    same = replace(tiny.particles, random_subset=state.random_subset)
    events = run(settings_for(), same, tiny.start, resume_from=state)
    assert next(events).first_iteration == 2
    events.close()


# what is made to fit --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smooth() -> BlobPhantom:
    """A phantom that grids of 4 to 6 angstrom all resolve, in angstrom."""
    generator = torch.Generator().manual_seed(8)
    centers = 14 * torch.randn(12, 3, generator=generator, dtype=torch.float64)
    return BlobPhantom(
        centers.clamp(-30, 30),
        torch.full((12,), 9.0, dtype=torch.float64),
        0.5 + torch.rand(12, generator=generator, dtype=torch.float64),
    )


def sampled(phantom: BlobPhantom, box: int, voxel_size: float) -> torch.Tensor:
    scaled = BlobPhantom(
        phantom.centers_px / voxel_size, phantom.sigmas_px / voxel_size, phantom.weights
    )
    return scaled.volume(box)


@pytest.mark.parametrize(("box", "voxel_size"), [(36, 4.0), (24, 7.0), (20, 6.0), (48, 6.0)])
def test_a_start_map_of_another_sampling_is_rescaled(smooth, box: int, voxel_size: float) -> None:
    geometry = Geometry(24, 6.0, 114.0)
    fitted, messages = checked_reference(sampled(smooth, box, voxel_size), voxel_size, geometry)
    wanted = sampled(smooth, 24, 6.0)
    assert fitted.shape == wanted.shape
    assert float((fitted - wanted).norm() / wanted.norm()) < 0.02
    (message,) = messages
    assert message.warning
    assert "start map" in message.text
    for number in (f"{box} px of {voxel_size:g} A", "24 px of 6 A"):
        assert number in message.text


def test_a_start_map_of_the_same_sampling_is_taken_as_it_is(smooth) -> None:
    volume = sampled(smooth, 24, 6.0)
    fitted, messages = checked_reference(volume, 6.0001, Geometry(24, 6.0, 114.0))
    assert messages == []
    assert torch.equal(fitted, volume)


def test_a_run_tells_that_it_rescaled_and_goes_on(tiny, settings_for, drain) -> None:
    wider = torch.nn.functional.pad(tiny.density, (4, 4, 4, 4, 4, 4))
    settings = settings_for(max_iterations=1)
    events, result = drain(run(settings, tiny.particles, (wider, 6.0)))
    told = [event.text for event in events if isinstance(event, Message)]
    assert any("32 px of 6 A" in text and "24 px of 6 A" in text for text in told)
    _, same_box = drain(run(settings, tiny.particles, tiny.start))
    assert torch.allclose(
        result.final_map, same_box.final_map, atol=1e-4 * float(same_box.final_map.std())
    )


def test_a_mask_of_another_sampling_is_rescaled_and_stays_a_mask() -> None:
    mask = soft_sphere(36, 10.0, 4.0)
    fitted, messages = checked_mask(mask, 4.0, Geometry(24, 6.0, 114.0))
    assert len(messages) == 1
    assert 0 <= float(fitted.min()) <= float(fitted.max()) <= 1
    wanted = soft_sphere(24, 10.0 * 4 / 6, 4.0 * 4 / 6)
    assert float((fitted - wanted).abs().max()) < 0.1


def test_a_mask_is_used(tiny, settings_for) -> None:
    mask = soft_sphere(24, 6.0, 3.0)
    settings = settings_for(first_iteration_cc=False)
    events = run(settings, tiny.particles, tiny.start, mask=(mask, 6.0))
    result = next(event for event in events if isinstance(event, IterationFinished)).result
    events.close()
    for reference, half_map in zip(
        result.references, (result.half_maps.half1, result.half_maps.half2), strict=True
    ):
        assert bool((half_map[mask == 0] != 0).any())
        assert not bool((reference[mask == 0] != 0).any())


def test_normalised_images_are_taken_as_they_are(tiny, settings_for) -> None:
    checks = checked_particles(tiny.particles, settings_for())
    assert (checks.box_size, checks.pixel_size) == (24, 6.0)
    assert not checks.normalize_background
    assert checks.messages == []


@pytest.mark.parametrize(("factor", "offset"), [(30.0, 0.0), (1.0, 5.0), (0.1, -2.0)])
def test_a_background_that_is_not_normalised_is_told_and_normalised(
    tiny, settings_for, factor: float, offset: float
) -> None:
    def change(stack):
        stack.mul_(factor).add_(offset)

    checks = checked_particles(with_images(tiny.particles, change), settings_for())
    assert checks.normalize_background
    (message,) = checks.messages
    assert message.warning
    assert "background" in message.text


def test_normalising_gives_the_map_of_normalised_images(asymmetric, settings_for, drain) -> None:
    settings = settings_for(initial_low_pass=16.0, healpix_order=2, exhaustive_order=2)
    raw = with_images(asymmetric.particles, lambda stack: stack.mul_(25.0).add_(100.0))
    events, result = drain(run(settings, raw, asymmetric.start))
    assert any(isinstance(event, Message) and "background" in event.text for event in events)
    _, wanted = drain(run(settings, asymmetric.particles, asymmetric.start))
    fsc = fourier_shell_correlation(result.final_map, wanted.final_map)
    assert float(fsc[:8].min()) > 0.97
    scale = (result.final_map * wanted.final_map).sum() / wanted.final_map.square().sum()
    assert float(scale) == pytest.approx(1.0, abs=0.05)
    errors = [
        geodesic_distance_deg(asymmetric.truth.rotations, r.last_iteration.poses.rotations)
        for r in (result, wanted)
    ]
    assert float(errors[0].median()) < 1.3 * float(errors[1].median())


def test_errors_of_masks_are_errors_of_settings() -> None:
    with pytest.raises(SettingsError):
        checked_mask(torch.zeros(24, 24, 24), 6.0, Geometry(24, 6.0, 114.0))
