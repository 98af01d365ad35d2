"""A folder of photographs with one of everything that can be wrong, for the tests of the doctor."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def photo(seed: int, size: tuple[int, int] = (80, 64)) -> Image.Image:
    """A smooth colour picture of width x height with structure at every scale, as photographs have it."""
    generator = np.random.default_rng(seed)
    layers = np.zeros((size[1], size[0], 3), np.float32)
    for cells, weight in ((3, 90), (6, 50), (12, 30), (24, 12)):
        noise = Image.fromarray(generator.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        layers += weight / 127.5 * (np.asarray(noise.resize(size, Image.Resampling.BICUBIC), np.float32) - 127.5)
    return Image.fromarray(np.clip(layers + 127.5, 0, 255).astype(np.uint8))


def jpeg(image: Image.Image, quality: int = 90, **options: object) -> bytes:
    """The bytes of a JPEG."""
    memory = io.BytesIO()
    image.save(memory, "JPEG", quality=quality, **options)
    return memory.getvalue()


def bomb(width: int = 20_000, height: int = 20_000) -> bytes:
    """A PNG of a few bytes that says it has 400 million pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


def write_clean(root: Path, *, per_class: int = 10, parts: tuple[str, ...] = ("train", "val", "test")) -> Path:
    """Splits with the classes cat and dog, all pictures different and in order."""
    for p, part in enumerate(parts):
        for c, label in enumerate(("cat", "dog")):
            folder = root / part / label
            folder.mkdir(parents=True)
            for k in range(per_class):
                (folder / f"{k}.jpg").write_bytes(jpeg(photo(1000 * p + 100 * c + k)))
    return root


def write_mess(root: Path) -> dict[str, set[str]]:
    """Plant one of everything in a clean set; return the paths that the findings of each kind must name."""
    write_clean(root, per_class=12)
    train, val, test = root / "train", root / "val", root / "test"
    whole = jpeg(photo(90001, (160, 120)))
    (train / "cat" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (train / "cat" / "cut.png").write_bytes(_png(photo(90002))[:2000])
    (train / "cat" / "zeros.jpg").write_bytes(whole[: len(whole) // 2] + bytes(len(whole) // 2))
    (train / "cat" / "no end.jpg").write_bytes(jpeg(photo(90_018))[:-2])
    (train / "cat" / "empty.jpg").write_bytes(b"")
    (train / "cat" / "page.jpg").write_text("<!DOCTYPE html><title>404</title>")
    (train / "cat" / "notes.txt").write_text("buy film")
    (train / "cat" / "bomb.png").write_bytes(bomb())
    damaged = bytearray(_png(photo(90003)))
    damaged[900:910] = b"\xff" * 10
    (train / "cat" / "damaged.png").write_bytes(bytes(damaged))
    Image.fromarray(np.full((32, 32), 7.5, np.float32)).save(train / "cat" / "values.tif")
    (train / "cat" / "link.jpg").symlink_to(root / "nowhere.jpg")
    (train / "cat" / "png.jpg").write_bytes(_png(photo(90004)))
    (train / "cat" / "photo").write_bytes(jpeg(photo(90005)))
    Image.new("RGB", (80, 64), (9, 9, 9)).save(train / "cat" / "black.png")
    Image.new("RGB", (80, 64), (9, 9, 9)).save(train / "dog" / "black too.bmp")
    photo(90006, (12, 10)).save(train / "cat" / "tiny.png")
    photo(90007, (400, 64)).save(train / "cat" / "wide.png")
    photo(90008).convert("CMYK").save(train / "cat" / "cmyk.jpg")
    photo(90009).convert("L").save(train / "cat" / "grey.png")
    deep = np.asarray(photo(90010).convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(train / "cat" / "deep.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    (train / "cat" / "turned.jpg").write_bytes(jpeg(photo(90011), exif=turned))
    (train / "cat" / "profile.jpg").write_bytes(jpeg(photo(90012), icc_profile=b"Adobe RGB (1998)" + bytes(200)))
    photo(90013).save(train / "cat" / "moves.gif", save_all=True, append_images=[photo(90014), photo(90015)])
    # copies: within a class, across classes, across splits; to the byte and nearly
    (train / "cat" / "copy.jpg").write_bytes((train / "cat" / "0.jpg").read_bytes())
    (train / "dog" / "cat.jpg").write_bytes((train / "cat" / "1.jpg").read_bytes())
    (test / "cat" / "known.jpg").write_bytes((train / "cat" / "2.jpg").read_bytes())
    (train / "cat" / "again.jpg").write_bytes(_small(train / "cat" / "3.jpg"))
    (train / "dog" / "nearly.jpg").write_bytes(_small(train / "cat" / "4.jpg"))
    (val / "cat" / "nearly.jpg").write_bytes(_small(train / "cat" / "5.jpg"))
    # folders
    for name, paths in {"bird": 3, "Cat": 11, "fish": 0}.items():
        (train / name).mkdir()
        for k in range(paths):
            (train / name / f"{k}.jpg").write_bytes(jpeg(photo(hash_of(name) + k)))
    (test / "cow").mkdir()
    (test / "cow" / "0.jpg").write_bytes(jpeg(photo(90_017)))
    (train / "dog" / "loop").symlink_to(train / "dog", target_is_directory=True)
    (train / ".cache").mkdir()
    (train / ".cache" / "0.jpg").write_bytes(whole)
    (train / "dog" / ".DS_Store").write_bytes(b"\0")
    (train / "stray.jpg").write_bytes(jpeg(photo(90_016)))
    (root / "README.md").write_text("my set")
    os.mkfifo(train / "dog" / "pipe")
    (root / "Validation").mkdir()
    return {
        "truncated": {"train/cat/cut.jpg", "train/cat/cut.png", "train/cat/zeros.jpg"},
        "no-end": {"train/cat/no end.jpg"},
        "empty": {"train/cat/empty.jpg"},
        "type": {"train/cat/page.jpg", "train/cat/notes.txt"},
        "size": {"train/cat/bomb.png"},
        "damaged": {"train/cat/damaged.png"},
        "values": {"train/cat/values.tif"},
        "access": {"train/cat/link.jpg"},
        "wrong-ending": {"train/cat/png.jpg", "train/cat/photo"},
        "constant": {"train/cat/black.png", "train/dog/black too.bmp"},
        "small": {"train/cat/tiny.png"},
        "shape": {"train/cat/wide.png"},
        "turned": {"train/cat/turned.jpg"},
        "profile": {"train/cat/profile.jpg"},
        "modes": {f"train/cat/{name}" for name in ("cmyk.jpg", "grey.png", "deep.png", "moves.gif")},
        "tiny-class": set(),  # bird
        "animated": {"train/cat/moves.gif"},
        "duplicate": {"train/cat/0.jpg", "train/cat/copy.jpg"},
        "two-labels": {"train/cat/1.jpg", "train/dog/cat.jpg"},
        "leak": {"train/cat/2.jpg", "test/cat/known.jpg"},
        "near-duplicate": {"train/cat/3.jpg", "train/cat/again.jpg"},
        "near-two-labels": {"train/cat/4.jpg", "train/dog/nearly.jpg"},
        "near-leak": {"train/cat/5.jpg", "val/cat/nearly.jpg"},
        "empty-class": {"train/fish"},
        "class-spelling": {"train/Cat", "train/cat"},
        "unknown-class": {"test/cow"},
        "missing-class": {"val", "test"},
        "link-loop": {"train/dog/loop"},
        "hidden-folder": {"train/.cache"},
        "hidden-file": {"train/dog/.DS_Store"},
        "stray": {"train/stray.jpg", "README.md"},
        "special": {"train/dog/pipe"},
        "layout": {"Validation"},
    }


def hash_of(name: str) -> int:
    """A seed for a name."""
    return 10_000 + 100 * zlib.crc32(name.encode()) % 10_000


def _png(image: Image.Image) -> bytes:
    memory = io.BytesIO()
    image.save(memory, "PNG")
    return memory.getvalue()


def _small(path: Path) -> bytes:
    """The picture at half the size, compressed anew."""
    image = Image.open(path)
    return jpeg(image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS), 70)
