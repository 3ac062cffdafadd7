#!/usr/bin/env python3
"""Takes the ELF image of the kernel out of a bzImage.

usage: extract-vmlinux.py vmlinuz vmlinux

A bzImage of protocol 2.08 or newer says in its header where its payload is and how long it is; the payload is
compressed with gzip, xz, lzma, zstd or lz4.
"""
import lzma
import subprocess
import sys
import zlib

MAGIC = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\x00": "xz",
    b"\x5d\x00\x00": "lzma",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x02\x21\x4c\x18": "lz4",
}


def program(command, payload):
    """Has a program decompress; what follows the stream may make it complain."""
    try:
        done = subprocess.run(command, input=payload, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    except FileNotFoundError:
        sys.exit(f"the kernel is compressed with {command[0]}, which is missing; install it: apt-get install {command[0]}")
    return done.stdout


def decompress(payload):
    for magic, kind in MAGIC.items():
        if payload.startswith(magic):
            break
    else:
        sys.exit(f"the payload begins with {payload[:6].hex()}, which is no compression that is known here")
    if kind == "gzip":
        return zlib.decompressobj(31).decompress(payload)
    if kind in ("xz", "lzma"):
        return lzma.LZMADecompressor().decompress(payload)
    return program(["zstd", "-dcq"] if kind == "zstd" else ["lz4", "-dcq"], payload)


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: extract-vmlinux.py vmlinuz vmlinux")
    with open(sys.argv[1], "rb") as file:
        image = file.read()
    if image[:4] == b"\x7fELF":
        elf = image
    else:
        if image[0x202:0x206] != b"HdrS":
            sys.exit(f"{sys.argv[1]}: neither an ELF image nor a bzImage")

        def number(at):
            return int.from_bytes(image[at : at + 4], "little")

        setup = (image[0x1F1] or 4) + 1
        start = setup * 512 + number(0x248)
        elf = decompress(image[start : start + number(0x24C)])
    if elf[:4] != b"\x7fELF":
        sys.exit(f"{sys.argv[1]}: what is inside is no ELF image")
    with open(sys.argv[2], "wb") as file:
        file.write(elf)


main()
