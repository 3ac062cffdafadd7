"""Runs the notebook from its first cell to its last, and looks that its pictures are there.

usage: run.py [OUT]     OUT is a folder for the executed notebook and its pictures
"""

from __future__ import annotations

import base64
import pathlib
import sys

import nbformat
from nbclient import NotebookClient

HERE = pathlib.Path(__file__).resolve().parent
#: How many pictures it draws.
PICTURES = 4


def main(out: pathlib.Path) -> None:
    """Runs it; an error in a cell ends this."""
    notebook = nbformat.read(HERE / "edge_runtime.ipynb", as_version=4)
    if any(cell.get("outputs") for cell in notebook.cells):
        sys.exit("edge_runtime.ipynb has outputs: clear them before it is committed")
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(HERE)}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    pictures = [output["data"]["image/png"] for output in shown if "image/png" in output.get("data", {})]
    out.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, out / "edge_runtime.ipynb")
    for number, picture in enumerate(pictures):
        (out / f"picture-{number + 1}.png").write_bytes(base64.b64decode(picture))
    text = "".join(output.get("text", "") for output in shown)
    if len(pictures) != PICTURES or "14 of 24 frames were sent" not in text or "refused: " not in text:
        sys.exit(f"the notebook shows something else: {len(pictures)} pictures\n{text}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else HERE / "out"))
