"""The neocognitron: the paper's equations cell by cell, sizes and constants, the competition, and what it learns."""

import math
import runpy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.nn.functional import pad

from striate.errors import InputError
from striate.models import build, card
from striate.models.neocognitron import (
    FUKUSHIMA_1980,
    CLayer,
    Neocognitron,
    Seed,
    SLayer,
    Stage,
    initial_synapses,
    layer_sizes,
    seed_cells,
)

EXAMPLE = Path(__file__).parents[2] / "examples" / "neocognitron.py"
# 6 x 5 -> S 5 x 4 -> C 3 x 2: odd and even windows, unequal padding, a stride
SMALL = Stage(
    planes=3, s_window=2, s_padding=(1, -1), column=2, r=1.5, q=2.0, gamma=0.7, c_window=3, c_stride=2,
    c_padding=(1, 1), delta=0.5, delta_scale=0.8,
)  # fmt: skip
TINY = (
    SMALL._replace(s_padding=(0, 0)),  # 7 x 6 -> 6 x 5 -> C1 3 x 3
    SMALL._replace(planes=4, s_padding=(0, 0), c_window=2, c_stride=1, c_padding=(0, 0)),  # S2 2 x 2 -> C2 1 x 1
)


@pytest.fixture(scope="module")
def example() -> dict[str, object]:
    return runpy.run_path(str(EXAMPLE))


@pytest.fixture(scope="module")
def digits(example: dict[str, object]) -> Tensor:
    return example["digits"]()  # type: ignore[operator, no-any-return]


@pytest.fixture(scope="module")
def learnt(digits: Tensor) -> Neocognitron:
    network = Neocognitron()
    network.learn(digits, passes=20)
    return network


def moved(images: Tensor, down: int, right: int) -> Tensor:
    """The images rolled: nothing may fall off."""
    return images.roll((down, right), (2, 3))


def at(plane: list[list[float]], y: int, x: int) -> float:
    """A cell's output, 0 outside of the plane."""
    return plane[y][x] if 0 <= y < len(plane) and 0 <= x < len(plane[0]) else 0.0


def falling(base: float, width: int) -> list[list[float]]:
    middle = (width - 1) / 2
    return [[base ** math.sqrt((y - middle) ** 2 + (x - middle) ** 2) for x in range(width)] for y in range(width)]


def s_cell(layer: SLayer, u: list[list[list[float]]], k: int, y: int, x: int) -> float:
    """Equations (1) to (3) for one cell, by loops."""
    stage = layer.stage
    c = falling(stage.gamma, stage.s_window)
    total = sum(map(sum, c)) * len(u)
    e = v = 0.0
    for before, plane in enumerate(u):
        for i in range(stage.s_window):
            for j in range(stage.s_window):
                seen = at(plane, y + i - stage.s_padding[0], x + j - stage.s_padding[0])
                e += layer.a[k, before, i, j].item() * seen
                v += c[i][j] / total * seen**2
    h = 2 * stage.r / (1 + stage.r) * layer.b[k].item() * math.sqrt(v)
    return stage.r * max((1 + e) / (1 + h) - 1, 0.0)


def c_cell(stage: Stage, u: list[list[list[float]]], k: int, y: int, x: int) -> float:
    """Equations (4) to (6) for one cell, by loops."""
    d = falling(stage.delta, stage.c_window)
    sums = [0.0] * len(u)
    for plane in range(len(u)):
        for i in range(stage.c_window):
            for j in range(stage.c_window):
                source = at(
                    u[plane], y * stage.c_stride + i - stage.c_padding[0], x * stage.c_stride + j - stage.c_padding[0]
                )
                sums[plane] += stage.delta_scale * d[i][j] * source
    inhibition = sum(sums) / len(u)
    positive = max((1 + sums[k]) / (1 + inhibition) - 1, 0.0)
    return positive / (0.5 + positive)


def test_s_cells_follow_their_equations() -> None:
    torch.manual_seed(0)
    layer = SLayer(2, SMALL).double()
    layer.a.uniform_(0, 1)
    layer.b.uniform_(0, 2)
    u = torch.rand(2, 2, 6, 5, dtype=torch.float64)
    output = layer(u)
    assert output.shape == (2, 3, 5, 4)
    expected = [
        [[[s_cell(layer, n, k, y, x) for x in range(4)] for y in range(5)] for k in range(3)] for n in u.tolist()
    ]
    torch.testing.assert_close(output, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)
    assert 0 < (output > 0).double().mean() < 1  # some cells are silenced, some are not


def test_c_cells_follow_their_equations() -> None:
    torch.manual_seed(0)
    u = torch.rand(2, 3, 5, 4, dtype=torch.float64) * torch.tensor([0.2, 5.0, 1.0], dtype=torch.float64).view(3, 1, 1)
    output = CLayer(SMALL).double()(u)
    assert output.shape == (2, 3, 3, 2)
    expected = [
        [[[c_cell(SMALL, n, k, y, x) for x in range(2)] for y in range(3)] for k in range(3)] for n in u.tolist()
    ]
    torch.testing.assert_close(
        output, torch.tensor(expected, dtype=torch.float64), rtol=1e-7, atol=1e-9
    )  # d was rounded to float32
    assert output[:, 0].max() == 0  # below the mean of the planes: lateral inhibition
    assert output.max() < 1


def test_the_paper_s_sizes_and_constants() -> None:
    """Section 5: 16 x 16, 10 x 10, 8 x 8, 6 x 6, 2 x 2, 1; 5 x 5 areas, 2 x 2 the last; r, q, S-columns, sum of c."""
    network = Neocognitron()
    sides = [16, 10, 8, 6, 2, 1]
    assert layer_sizes(FUKUSHIMA_1980, (16, 16)) == [(side, side) for side in sides]
    answers = network.respond(torch.rand(2, 1, 16, 16))
    assert {name: tuple(u.shape) for name, u in answers.items()} == {
        name: (2, 24, side, side) for name, side in zip(("S1", "C1", "S2", "C2", "S3", "C3"), sides, strict=True)
    }
    assert [stage.r for stage in FUKUSHIMA_1980] == [4.0, 1.5, 1.5]
    assert [stage.q for stage in FUKUSHIMA_1980] == [1.0, 16.0, 16.0]
    assert [(stage.s_window, stage.c_window, stage.column) for stage in FUKUSHIMA_1980] == [
        (5, 5, 5),
        (5, 5, 5),
        (5, 2, 2),
    ]
    synapses = network.state_dict()
    assert [tuple(synapses[f"S{n}.a"].shape) for n in (1, 2, 3)] == [(24, 1, 5, 5), (24, 24, 5, 5), (24, 24, 5, 5)]
    for layer, inputs in ((network.S1, 1), (network.S2, 24), (network.S3, 24)):
        assert isinstance(layer, SLayer)
        assert layer.c.sum().item() * inputs == pytest.approx(1, rel=1e-6)
        assert layer.b.abs().max() == 0
        assert (layer.a >= 0).all()
        assert 0 < layer.a.max() < 1e-3
        assert layer.c[2, 2] == layer.c.max()


def test_initial_synapses_prefer_different_orientations() -> None:
    a = initial_synapses(24, 1, torch.ones(5, 5))[:, 0]
    horizontal, vertical = a[:, 2, :].sum(1), a[:, :, 2].sum(1)
    assert horizontal.argmax() == 0
    assert vertical.argmax() == 12  # a quarter turn
    assert len({tuple(plane.flatten().tolist()) for plane in a}) == 24


def test_reinforcement_is_that_of_the_paper() -> None:
    """Equations (7) and (8): a grows by q c u, b by q/2 v; planes without a seed stay as they are."""
    torch.manual_seed(0)
    layer = SLayer(2, SMALL).double()
    u = torch.rand(1, 2, 6, 5, dtype=torch.float64)
    a, b = layer.a.clone(), layer.b.clone()
    layer.reinforce(u, [Seed(plane=1, y=0, x=3)])
    assert torch.equal(layer.a[[0, 2]], a[[0, 2]])
    assert torch.equal(layer.b[[0, 2]], b[[0, 2]])
    c = falling(0.7, 2)
    total = 2 * sum(map(sum, c))
    v = 0.0
    for k in range(2):
        for i in range(2):
            for j in range(2):
                seen = at(u[0, k].tolist(), 0 + i - 1, 3 + j - 1)
                v += c[i][j] / total * seen**2
                assert layer.a[1, k, i, j].item() == pytest.approx(a[1, k, i, j].item() + 2.0 * c[i][j] / total * seen)
    assert layer.b[1].item() == pytest.approx(2.0 / 2 * math.sqrt(v))


def test_a_well_learnt_cell_answers_by_similarity() -> None:
    """With strong synapses u -> phi((r + 1) s - r), s the cosine between stimulus and what was learnt (section 3)."""
    torch.manual_seed(0)
    layer = SLayer(1, SMALL._replace(s_padding=(0, 0), planes=1, q=1e6)).double()
    shown, other = torch.rand(2, 1, 1, 2, 2, dtype=torch.float64)
    layer.a.zero_()
    layer.reinforce(shown, [Seed(0, 0, 0)])
    inner = [(layer.c * x * y).sum().item() for x, y in ((shown, other), (shown, shown), (other, other))]
    s = inner[0] / math.sqrt(inner[1] * inner[2])
    assert layer(shown).item() == pytest.approx(1, abs=1e-4)
    assert layer(other).item() == pytest.approx(max(2.5 * s - 1.5, 0), abs=1e-3)
    assert layer(other).item() > 0


@pytest.mark.parametrize("column", [1, 2, 5, 99])
def test_seeds_are_winners(column: int) -> None:
    """At most one a plane; each the strongest of some S-column; no candidate of its plane is stronger."""
    torch.manual_seed(column)
    for density in (0.02, 0.3, 1.0):
        u = torch.rand(6, 7, 5) * (torch.rand(6, 7, 5) < density)
        seeds = seed_cells(u, column)
        assert len({seed.plane for seed in seeds}) == len(seeds)
        candidates: dict[int, list[tuple[float, Seed]]] = {}
        tall, wide = min(column, 7), min(column, 5)
        for top in range(7 - tall + 1):
            for left in range(5 - wide + 1):
                cells = [
                    (u[k, y, x].item(), Seed(k, y, x))
                    for k in range(6) for y in range(top, top + tall) for x in range(left, left + wide)
                ]  # fmt: skip
                strength, cell = max(cells, key=lambda found: found[0])
                if strength > 0:
                    candidates.setdefault(cell.plane, []).append((strength, cell))
        assert {seed.plane: seed for seed in seeds} == {k: max(found)[1] for k, found in candidates.items()}
    assert len(seed_cells(torch.rand(6, 7, 5), 99)) == 1  # one column holds them all
    assert seed_cells(torch.zeros(6, 7, 5), column) == []


def test_one_presentation_changes_the_seeds_planes_only(digits: Tensor) -> None:
    network = Neocognitron()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    answers = network.respond(digits[:1])
    network.learn(digits[:1], passes=1)
    after = network.state_dict()
    for number, column in ((1, 5), (2, 5), (3, 2)):
        planes = {seed.plane for seed in seed_cells(answers[f"S{number}"][0], column)}
        assert 0 < len(planes) < 24
        for kind in ("a", "b"):
            name = f"S{number}.{kind}"
            changed = (
                (after[name] != before[name]).flatten(1) if kind == "a" else (after[name] != before[name])[:, None]
            )
            assert {k for k in range(24) if changed[k].any()} == planes


def test_every_digit_gets_a_cell_of_its_own(learnt: Neocognitron, digits: Tensor) -> None:
    """The paper's result: each pattern elicits an output from one cell of the last layer, and that from it alone."""
    answering = learnt(digits).flatten(1) > 0
    assert answering.sum(1).tolist() == [1] * 5
    assert answering.sum(0).max() == 1
    assert sorted(learnt.recognize(digits).tolist()) == sorted(answering.nonzero()[:, 1].tolist())


@pytest.mark.parametrize("shift", [(0, 3), (-3, 0), (2, -2), (-3, 3), (1, 1)])
def test_shifts_do_not_matter(learnt: Neocognitron, digits: Tensor, shift: tuple[int, int]) -> None:
    assert torch.equal(learnt.recognize(moved(digits, *shift)), learnt.recognize(digits))


def test_what_s_cells_of_the_first_layer_say_moves_with_the_stimulus(learnt: Neocognitron, digits: Tensor) -> None:
    """An identity: away from the edges S1 shifts by as many pixels, C1 by half as many."""
    here, there = learnt.respond(digits), learnt.respond(moved(digits, 2, -2))
    torch.testing.assert_close(there["S1"], moved(here["S1"], 2, -2))
    torch.testing.assert_close(there["C1"][..., 1:, :-1], here["C1"][..., :-1, 1:])
    assert not torch.equal(there["C1"], here["C1"])


def test_c_cells_tolerate_what_s_cells_do_not(learnt: Neocognitron, digits: Tensor) -> None:
    """A shift by one pixel changes the answers of S1 much, those of C1 by half of that, and those of C3 little."""
    here, there = learnt.respond(digits), learnt.respond(moved(digits, 0, 1))
    change = {name: ((there[name] - here[name]).norm() / here[name].norm()).item() for name in here}
    assert change["S1"] > 2 * change["C1"]
    assert change["C3"] < 0.25 < 1 < change["S1"]


def test_what_was_not_learnt(learnt: Neocognitron, digits: Tensor) -> None:
    """Darkness and full light stir no cell of the last layer; an unlearnt network has hardly an answer to anything."""
    blank = torch.stack((torch.zeros(1, 16, 16), torch.ones(1, 16, 16)))
    assert learnt.recognize(blank).tolist() == [-1, -1]
    assert all(u.abs().max() == 0 for u in learnt.respond(blank[:1]).values())
    assert learnt(digits).amax() > 0.1 > 10 * Neocognitron()(digits).amax()


def test_learning_can_be_repeated(digits: Tensor) -> None:
    first, second, other = Neocognitron(), Neocognitron(), Neocognitron()
    torch.manual_seed(1)
    first.learn(digits, passes=2)
    torch.manual_seed(2)
    second.learn(digits, passes=1)
    second.learn(digits, passes=1)
    other.learn(digits.flip(0), passes=2)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name
    assert not torch.equal(first.state_dict()["S1.a"], other.state_dict()["S1.a"])


def test_the_state_is_saved(learnt: Neocognitron, digits: Tensor) -> None:
    again = Neocognitron()
    again.load_state_dict(load(save(learnt.state_dict())))
    assert torch.equal(again(digits), learnt(digits))


def test_other_tables_types_and_batches() -> None:
    torch.manual_seed(0)
    network = Neocognitron(TINY, size=(7, 6)).double()
    images = torch.rand(3, 1, 7, 6)
    network.learn(images, passes=2)
    assert network(images).dtype == torch.float64
    assert network(images).shape == (3, 4, 1, 1)
    assert network(images[:0]).shape == (0, 4, 1, 1)
    assert network.recognize(images[:0]).shape == (0,)
    for one in range(3):  # a batch is its images
        torch.testing.assert_close(network(images)[one], network(images[one : one + 1])[0])
    larger = Neocognitron(TINY, size=(9, 8))
    assert larger(pad(images, (1, 1, 1, 1))).shape == (3, 4, 2, 2)
    assert larger.recognize(torch.zeros(2, 1, 9, 8)).tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (torch.zeros(16, 16), "neocognitron: the images (16, 16) are not N x 1 x 16 x 16"),
        (torch.zeros(2, 3, 16, 16), "neocognitron: the images (2, 3, 16, 16) are not N x 1 x 16 x 16"),
        (
            torch.full((1, 1, 16, 16), 255.0),
            "neocognitron: the images must be from 0 (dark) to 1 (a fully lit receptor)",
        ),
        (
            torch.full((1, 1, 16, 16), math.nan),
            "neocognitron: the images must be from 0 (dark) to 1 (a fully lit receptor)",
        ),
    ],
)
def test_wrong_images(images: Tensor, sentence: str) -> None:
    network = Neocognitron()
    for use in (network.learn, network.respond, network.recognize):
        with pytest.raises(InputError) as caught:
            use(images)
        assert str(caught.value) == sentence


@pytest.mark.parametrize("passes", [0, -1, 1.5, True])
def test_wrong_passes(passes: object) -> None:
    with pytest.raises(InputError, match="passes must be a whole number of 1 or more, got"):
        Neocognitron().learn(torch.zeros(1, 1, 16, 16), passes)  # type: ignore[arg-type]


def test_wrong_tables() -> None:
    with pytest.raises(InputError, match="the table needs at least one stage"):
        Neocognitron(())
    with pytest.raises(InputError, match=r"a window of \(5, 5\) does not fit into the input size \(2, 2\)"):
        Neocognitron(size=(8, 8))


def test_the_catalog_names_the_class() -> None:
    assert card("neocognitron").task == "unsupervised"
    with pytest.raises(InputError) as caught:
        build("neocognitron")
    assert str(caught.value) == (
        "model 'neocognitron' learns without labels and is no classifier to build: "
        "use striate.models.neocognitron.Neocognitron"
    )


def test_the_example_keeps_its_claim(example: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    example["main"]()  # type: ignore[operator]
    assert "shifted by up to 3 pixels         245         100.0" in capsys.readouterr().out
