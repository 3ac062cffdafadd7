"""What runs the environments of an embedded control plane: chosen, told, and (where this machine can) real."""

from __future__ import annotations

import asyncio
import os
import pathlib
import subprocess
import sys
import warnings

import pytest
import server

import fuse_runtime as fuse

#: A folder with the image `default`, where there are one and QEMU.
VMS = os.environ.get("FUSE_TEST_VMS")


def real_vms() -> str:
    """That folder; skips without one, which FUSE_TEST_STRICT makes a failure."""
    if VMS is None:
        why = "FUSE_TEST_VMS names no folder with an image"
        assert not os.environ.get("FUSE_TEST_STRICT"), why
        pytest.skip(why)
    return VMS


def test_auto_without_vms_is_the_stub_and_says_so(tmp_path) -> None:
    with pytest.warns(fuse.ProviderWarning, match="isolate nothing.*fuse image build") as told:
        plane = fuse.Orchestrator.open(tmp_path / "state", host_data=tmp_path / "none")
    # It points at the line that opened.
    assert [warning.filename for warning in told] == [__file__]
    with plane:
        assert plane.provider is not None
        assert (plane.provider.name, plane.provider.url) == ("stub", "stub://default")
        assert "fuse image build" in (plane.provider.why or "")
        assert plane.provision("t1").wait_running().exec("echo", "hello").stdout == "hello\n"


def test_local_without_vms_says_what_is_missing(tmp_path) -> None:
    with pytest.raises(fuse.UnavailableError, match="provider local was asked for.*fuse image build"):
        fuse.Orchestrator.open(tmp_path / "state", provider="local", host_data=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_who_asks_for_the_stub_is_not_warned(tmp_path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fuse.Orchestrator.open(tmp_path / "state", provider="stub") as plane:
            assert plane.provider == fuse.Provider("stub", "stub://default", "the provider stub was asked for")
        with fuse.Orchestrator.in_memory() as plane:
            assert plane.provider is not None and plane.provider.name == "stub"


def test_a_name_that_is_none(tmp_path) -> None:
    with pytest.raises(fuse.InvalidRequestError, match="auto, local or stub"):
        fuse.Orchestrator.open(tmp_path / "state", provider="qemu")  # type: ignore[arg-type]


def test_a_warning_that_is_an_error_leaves_nothing_open(tmp_path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", fuse.ProviderWarning)
        with pytest.raises(fuse.ProviderWarning):
            fuse.Orchestrator.open(tmp_path / "state", host_data=tmp_path / "none")
    fuse.Orchestrator.open(tmp_path / "state", provider="stub").close()


def test_the_same_awaited(tmp_path) -> None:
    async def main() -> None:
        with pytest.warns(fuse.ProviderWarning, match="isolate nothing") as told:
            plane = await fuse.AsyncOrchestrator.open(tmp_path / "state", host_data=tmp_path / "none")
        assert [warning.filename for warning in told] == [__file__]
        async with plane:
            assert plane.provider is not None and plane.provider.name == "stub"
        with pytest.raises(fuse.UnavailableError):
            await fuse.AsyncOrchestrator.open(tmp_path / "other", provider="local", host_data=tmp_path / "none")

    asyncio.run(main())


@pytest.mark.skipif(not server.PROGRAM, reason="FUSE_PROGRAM names no server")
def test_a_server_runs_its_own(tmp_path) -> None:
    with server.serving() as (url, token), fuse.Orchestrator.connect(url, token) as plane:
        assert plane.provider is None


#: Makes a VM and goes away without closing anything.
MAKER = """
import os, sys
import fuse_runtime as fuse
state, vms = sys.argv[1:]
plane = fuse.Orchestrator.open(state, provider="local", host_data=vms)
environment = plane.provision("kept", spec={"cpus": 1, "ram_mb": 128}).wait_running(300)
environment.exec(shell="echo here > /run/kept")
print(environment.id, flush=True)
os._exit(0)
"""


def test_real_vms_outlive_the_process_that_made_them(tmp_path: pathlib.Path) -> None:
    vms, state = real_vms(), str(tmp_path / "state")
    made = subprocess.run([sys.executable, "-c", MAKER, state, vms], capture_output=True, text=True, timeout=600)
    assert made.returncode == 0, made.stderr
    # What comes after takes it over, in one process at a time.
    with fuse.Orchestrator.open(state, provider="local", host_data=vms) as plane:
        assert plane.provider is not None and plane.provider.name == "local" and plane.provider.why is None
        environment = plane.get(made.stdout.strip())
        assert environment.exec(shell="cat /run/kept").stdout == "here\n"
        with pytest.raises(fuse.UnavailableError, match="another agent works on this directory"):
            fuse.Orchestrator.open(tmp_path / "other", provider="local", host_data=vms)
        with pytest.warns(fuse.ProviderWarning, match="another agent works on this directory"):
            fuse.Orchestrator.open(tmp_path / "other", host_data=vms).close()
        with pytest.raises(fuse.UnavailableError, match="stop the other process"):
            fuse.Orchestrator.open(state, provider="stub")
        environment.destroy()
    # Real VMs are never given to the stub.
    with pytest.raises(fuse.ConflictError, match="real VMs"):
        fuse.Orchestrator.open(state, provider="stub")
    assert os.listdir(os.path.join(vms, "vms")) == []
