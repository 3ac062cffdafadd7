#!/usr/bin/env python3
"""Takes the first program of a README and what it prints: readme-snippet.py README code|output"""

import pathlib
import re
import sys

blocks = re.findall(r"^```(\w+)\n(.*?)^```$", pathlib.Path(sys.argv[1]).read_text(), re.M | re.S)
wanted = {"code": {"python", "js"}, "output": {"text"}}[sys.argv[2]]
print(next(text for language, text in blocks if language in wanted), end="")
