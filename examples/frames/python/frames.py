"""The camera of the examples: a moving window over the Hubble Deep Field, and a summary of what became of each frame."""

from __future__ import annotations

import hashlib
import pathlib

import numpy as np

WIDTH, HEIGHT = 320, 240
#: Frames until the window has swept the whole picture.
SWEEP = 24
PICTURE = pathlib.Path(__file__).resolve().parents[1] / "hubble_deep_field.pgm"


class Sky:
    """The picture that frames are windows of."""

    def __init__(self) -> None:
        header, pixels = PICTURE.read_bytes().split(b"\n", 1)
        magic, width, height, _ = header.split()
        if magic != b"P5":
            raise ValueError(f"{PICTURE} is not a grey picture in the PGM format")
        self.pixels = np.frombuffer(pixels, np.uint8).reshape(int(height), int(width))

    def frame(self, number: int) -> np.ndarray:
        """Frame ``number``: row after row, every other one backwards, as a scanning telescope would."""
        sweep, step = divmod(number, SWEEP)
        row, along = divmod(step, 6)
        column = along if row % 2 == 0 else 5 - along
        x = min(column * 136 + sweep * 37 % 136, self.pixels.shape[1] - WIDTH)
        y = min(row * 210 + sweep * 61 % 210, self.pixels.shape[0] - HEIGHT)
        return np.ascontiguousarray(self.pixels[y : y + HEIGHT, x : x + WIDTH])


class Summary:
    """One line for each frame: the same on every run, and the same as the example in Rust writes."""

    def __init__(self) -> None:
        self.text = "frame\tverdict\twhy\tbytes_in\tbytes_out\tpacket_sha256\n"
        self.kept = 0

    def add(self, number: int, packet: bytes | None, why: str) -> None:
        """Adds a frame: with its packet when it was sent, else with why it was not."""
        verdict, size = ("dropped", 0) if packet is None else ("kept", len(packet))
        digest = "-" if packet is None else hashlib.sha256(packet).hexdigest()[:16]
        self.kept += packet is not None
        self.text += f"{number}\t{verdict}\t{why}\t{WIDTH * HEIGHT}\t{size}\t{digest}\n"
        bar = "" if packet is None else "#" * round(20 * WIDTH * HEIGHT / size / 2)
        ratio = "-" if packet is None else f"{WIDTH * HEIGHT / size:.2f}"
        print(f"{number:>5}  {verdict:<8} {why:<14} {size:>7} {ratio:>6}  {bar}")

    def write(self, out: pathlib.Path) -> None:
        """Writes ``summary.tsv``."""
        out.mkdir(parents=True, exist_ok=True)
        (out / "summary.tsv").write_text(self.text)
