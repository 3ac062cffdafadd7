"""camera_filter_compress: a camera on a thread of its own posts an event for each frame; frame_filter wakes and passes on those
with enough in them; frame_compress wakes on those, encodes them and sends them down.

usage: camera_filter_compress.py [OUT]
"""

from __future__ import annotations

import pathlib
import sys
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "frames" / "python"))

import fuse_runtime as fuse  # noqa: E402
from frames import SWEEP, Sky, Summary  # noqa: E402


class Camera:
    """Exposes the next frame when the host has finished with the last, so that every run sees the same sequence."""

    def __init__(self, poster: fuse.EventPoster) -> None:
        self.sky, self.poster = Sky(), poster
        self.newest = self.sky.frame(0)
        self.next = threading.Semaphore(1)
        self.thread = threading.Thread(target=self.expose, daemon=True)

    def expose(self) -> None:
        """Runs on the camera's thread."""
        for number in range(SWEEP):
            self.next.acquire()
            self.newest = self.sky.frame(number)
            self.poster.post("CAMERA_FRAME_READY")


def verdict(runtime: fuse.Runtime, since: int) -> str:
    """What frame_filter said of the frame."""
    lines = (r.text for r in runtime.log_records(since) if r.text.startswith("frame_filter: "))
    return next(lines, "no verdict").removeprefix("frame_filter: ").split(", ", 1)[-1]


def main(out: pathlib.Path) -> None:
    """Takes one sweep of frames."""
    config = fuse.AppConfig.from_json((HERE.parent / "app_config.json").read_text())
    summary, packets = Summary(), []
    hal = fuse.Hal()

    @hal.group("downlink", 8).function(params=["in"], result="i32")
    def downlink_write(packet: bytes) -> int:
        packets.append(packet)
        return len(packet)

    with fuse.Runtime(config, hal=hal) as runtime:
        camera = Camera(runtime.poster())
        runtime.set_camera(lambda max_len: camera.newest)
        for module in runtime.load_app(config, fetch=lambda decl: (HERE.parent / decl.binary).read_bytes()):
            module.start()
        camera.thread.start()
        for number in range(SWEEP):
            if not runtime.wait(60):
                sys.exit("camera_filter_compress: no frame within a minute")
            seen = runtime.log_next_sequence
            runtime.tick()
            summary.add(number, packets.pop() if packets else None, verdict(runtime, seen))
            camera.next.release()
        print(*runtime.modules, sep="\n")
        if any(record.source == "security" for record in runtime.log_records()):
            sys.exit("camera_filter_compress: a module failed")
    summary.write(out)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else HERE / "out"))
