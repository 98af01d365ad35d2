"""The neocognitron learns five digits without labels and knows them again when shifted, noisy or bent.

Claim: it gives each digit a cell of its own, knows every digit again at each of the 49 shifts of up to 3 pixels, and is
better than matching with templates, by 30 points or more, wherever the digits are shifted. (Where they are not, the
templates are better; tried at every position they are better everywhere, but that is a search.)
Run: python examples/neocognitron.py (some seconds on one core)
"""

import time

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, normalize

from striate.models.neocognitron import Neocognitron

DIGITS = """
    ..####.. ...#.... ..####.. ..####.. .....#..
    .#....#. ..##.... .#....#. .#....#. ....##..
    #......# .#.#.... #......# .......# ...#.#..
    #......# ...#.... .......# ......#. ..#..#..
    #......# ...#.... ......#. ...###.. .#...#..
    #......# ...#.... .....#.. ......#. #....#..
    #......# ...#.... ...##... .......# ########
    #......# ...#.... ..#..... .......# .....#..
    .#....#. ...#.... .#...... .#....#. .....#..
    ..####.. .#####.. ######## ..####.. .....#..
"""
SHIFT = 3  # pixels; a digit of 10 x 8 stays inside 16 x 16
COPIES = 100  # noisy and bent copies of each digit
FLIPPED = 8  # pixels of 256 that noise turns over; a digit has 20 to 30


def digits() -> Tensor:
    """Return the five digits, 5 x 1 x 16 x 16, lines of 1 on 0."""
    rows = [line.split() for line in DIGITS.split("\n") if line.strip()]
    images = torch.zeros(5, 1, 16, 16)
    for y, row in enumerate(rows, 3):
        for digit, marks in enumerate(row):
            images[digit, 0, y, 4:12] = torch.tensor([float(mark == "#") for mark in marks])
    return images


def shifted(images: Tensor, down: int, right: int) -> Tensor:
    """Return the images moved by whole pixels, dark where nothing came from."""
    padded = torch.nn.functional.pad(images, (SHIFT,) * 4)
    height, width = images.shape[-2:]
    return padded[..., SHIFT - down : SHIFT - down + height, SHIFT - right : SHIFT - right + width]


def noisy(images: Tensor, random: torch.Generator) -> Tensor:
    """Return the images with FLIPPED pixels of each turned over."""
    flat = images.flatten(1).clone()
    where = torch.rand(flat.shape, generator=random).topk(FLIPPED, 1).indices
    return flat.scatter(1, where, 1 - flat.gather(1, where)).view_as(images)


def bent(images: Tensor, random: torch.Generator) -> Tensor:
    """Return the images, each scaled by up to 15 %, turned by up to 0.15 rad and slanted by up to 0.2."""
    scale, turn, slant = (torch.rand(3, len(images), generator=random) * 2 - 1) * torch.tensor([[0.15], [0.15], [0.2]])
    matrix = torch.zeros(len(images), 2, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = (1 + scale) * turn.cos()
    matrix[:, 0, 1], matrix[:, 1, 0] = slant - turn.sin(), turn.sin()
    return grid_sample(images, affine_grid(matrix, list(images.shape), align_corners=False), align_corners=False)


def tests(images: Tensor, random: torch.Generator) -> dict[str, Tensor]:
    """Return the test images by name, each as copies of the digits 0 to 4 in this order."""
    moves = [(down, right) for down in range(-SHIFT, SHIFT + 1) for right in range(-SHIFT, SHIFT + 1)]
    copies, drawn = images.repeat(COPIES, 1, 1, 1), torch.randint(len(moves), (COPIES,), generator=random).tolist()
    crooked, spotted = bent(copies, random), noisy(copies, random)

    def anywhere(many: Tensor) -> Tensor:
        fives = many.view(COPIES, 5, *many.shape[1:])
        return torch.cat([shifted(five, *moves[move]) for five, move in zip(fives, drawn, strict=True)])

    return {
        f"shifted by up to {SHIFT} pixels": torch.cat([shifted(images, *move) for move in moves]),
        f"noisy ({FLIPPED} pixels turned over)": spotted,
        "noisy and shifted": anywhere(spotted),
        "bent": crooked,
        "bent and shifted": anywhere(crooked),
    }


def by_template(images: Tensor, templates: Tensor) -> Tensor:
    """Return the digit whose template has the largest normalised correlation with each image."""
    return (normalize(images.flatten(1)) @ normalize(templates.flatten(1)).T).argmax(1)


def by_searching(images: Tensor, templates: Tensor) -> Tensor:
    """Return the same with each template tried at every shift of up to SHIFT pixels."""
    span = range(-SHIFT, SHIFT + 1)
    moved = torch.cat([shifted(templates, down, right) for down in span for right in span])
    return by_template(images, moved) % len(templates)


def main() -> None:
    """Learn, test, print the table of rates and assert the claim."""
    start = time.perf_counter()
    torch.set_num_threads(1)
    images, random = digits(), torch.Generator().manual_seed(0)
    network = Neocognitron()
    network.learn(images, passes=20)
    own = network.recognize(images)  # which cell of the last layer each digit has come to own
    learnt = time.perf_counter() - start
    print(f"learnt in {learnt:.1f} s; digits 0 to 4 own the cells {own.tolist()} of the last layer's 24\n")
    print(f"{'rate of recognition, %':32}{'n':>5}{'neocognitron':>14}{'template':>10}{'template everywhere':>21}")
    rates: dict[str, list[float]] = {}
    for name, test in tests(images, random).items():
        labels = torch.arange(5).repeat(len(test) // 5)
        right = [
            network.recognize(test) == own[labels],
            by_template(test, images) == labels,
            by_searching(test, images) == labels,
        ]
        rates[name] = [100 * answers.float().mean().item() for answers in right]
        cells, fixed, searched = rates[name]
        print(f"{name:32}{len(test):5}{cells:14.1f}{fixed:10.1f}{searched:21.1f}")
    print(f"\n{time.perf_counter() - start:.1f} s in all")
    assert len(set(own.tolist())) == 5, "two digits share a cell"
    assert min(own.tolist()) >= 0, "a digit has no cell"
    for name, (cells, fixed, _) in rates.items():
        if "shifted" in name:
            assert cells >= fixed + 30, f"{name}: {cells:.1f} % against {fixed:.1f} %"
    assert rates[f"shifted by up to {SHIFT} pixels"][0] == 100


if __name__ == "__main__":
    main()
