"""camera_compress: a module under policy encodes each camera frame; another asks for what its policy does not grant.

usage: camera_compress.py [OUT]
"""

from __future__ import annotations

import pathlib
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "frames" / "python"))

import fuse_runtime as fuse  # noqa: E402
from frames import SWEEP, Sky, Summary  # noqa: E402


def main(out: pathlib.Path) -> None:
    """Takes one sweep of frames."""
    config = fuse.AppConfig.from_json((HERE.parent / "app_config.json").read_text())
    sky, summary, packets = Sky(), Summary(), []
    frame = sky.frame(0)
    began = time.monotonic_ns()
    hal = fuse.Hal(camera=lambda max_len: frame, timer=lambda: (time.monotonic_ns() - began) // 1000)

    @hal.group("downlink", 8).function(params=["in"], result="i32")
    def downlink_write(packet: bytes) -> int:
        packets.append(packet)
        return len(packet)

    with fuse.Runtime(config, hal=hal) as runtime:
        for module in runtime.load_app(config, fetch=lambda decl: (HERE.parent / decl.binary).read_bytes()):
            module.start()
        compress, probe = runtime.find("camera_compress"), runtime.find("thermal_probe")
        for number in range(SWEEP):
            frame = sky.frame(number)
            while runtime.run(ticks=1) and compress.stats.steps <= number:
                pass
            summary.add(number, packets.pop() if packets else None, "taken")
        for module in (compress, probe):
            print(module, f"p50 {module.stats.step_time.quantile_ns(500) // 1000} us")
        for record in runtime.log_records():
            if record.source == "security":
                print("security log:", record.text)
        summary.write(out)
        refused = probe.state is fuse.ModuleState.TRAPPED and "TEMP_SENSOR" in (probe.failure or "")
        if not (refused and compress.state is fuse.ModuleState.RUNNING and summary.kept == SWEEP):
            sys.exit("camera_compress: not every frame was kept, or the probe was not refused")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else HERE / "out"))
