"""The camera of the examples: a moving window over the Hubble Deep Field, and a summary of what became of each frame."""

from __future__ import annotations

import hashlib
import pathlib

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 320, 240
#: Frames until the window has swept the whole picture.
SWEEP = 24
PICTURE = pathlib.Path(__file__).resolve().parents[1] / "hubble_deep_field.pgm"


class Sky:
    """The picture that frames are windows of."""

    def __init__(self) -> None:
        with Image.open(PICTURE) as picture:
            if picture.mode != "L":
                raise ValueError(f"{PICTURE} is not a grey picture of 8 bits")
            self.pixels = np.asarray(picture)

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
        #: Bytes in for each byte out, by frame; 0 for those that were dropped.
        self.ratios: list[float] = []

    def add(self, number: int, packet: bytes | None, why: str) -> None:
        """Adds a frame: with its packet when it was sent, else with why it was not."""
        verdict, size = ("dropped", 0) if packet is None else ("kept", len(packet))
        digest = "-" if packet is None else hashlib.sha256(packet).hexdigest()[:16]
        self.kept += packet is not None
        self.ratios.append(WIDTH * HEIGHT / size if size else 0.0)
        self.text += f"{number}\t{verdict}\t{why}\t{WIDTH * HEIGHT}\t{size}\t{digest}\n"
        bar = "" if packet is None else "#" * round(20 * WIDTH * HEIGHT / size / 2)
        ratio = "-" if packet is None else f"{WIDTH * HEIGHT / size:.2f}"
        print(f"{number:>5}  {verdict:<8} {why:<14} {size:>7} {ratio:>6}  {bar}")

    def write(self, out: pathlib.Path) -> None:
        """Writes ``summary.tsv`` and ``ratio.png``."""
        out.mkdir(parents=True, exist_ok=True)
        (out / "summary.tsv").write_text(self.text)
        self.plot(out / "ratio.png")

    def plot(self, path: pathlib.Path) -> None:
        """Draws the ratio of each frame."""
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
        frames = range(len(self.ratios))
        axes.bar(frames, self.ratios, color="#2a6f97", label="sent")
        dropped = [number for number in frames if not self.ratios[number]]
        if dropped:
            axes.plot(dropped, [0.02] * len(dropped), "x", color="#c1121f", label="dropped", clip_on=False)
        axes.axhline(1, color="grey", linewidth=0.8, linestyle="--")
        axes.set(xlabel="frame", ylabel="bytes in / bytes out", title="Compression of each frame", xlim=(-0.8, len(self.ratios) - 0.2))
        axes.set_ylim(0, max(self.ratios, default=1.0) * 1.25)
        axes.legend(loc="upper right", ncols=2)
        figure.savefig(path, dpi=110)
        plt.close(figure)
