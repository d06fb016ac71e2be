"""Writes the API pages from the docstrings: dist/api/index.html, one page for each module of minimagen.

Needs pdoc (`make docs` installs it). Knows no module by its name and judges no docstring.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGE, OUT = "minimagen", Path("dist/api")
NO_DEFAULT = re.compile(r'\s*=\s*<span class="default_value">PydanticUndefined</span>')
"""What pdoc shows of a parameter that params.yaml has to give."""


def write_pages(out: Path) -> int:
    """Writes the pages anew and returns how many there are.

    Raises:
        CalledProcessError: pdoc is not installed, or a module cannot be imported.
    """
    shutil.rmtree(out, ignore_errors=True)
    # Warnings are about annotations of other libraries' classes that some of ours extend.
    options = ["--docformat", "google", "--no-show-source", "--output-directory", str(out)]
    subprocess.run([sys.executable, "-W", "ignore", "-m", "pdoc", *options, PACKAGE], check=True)
    pages = sorted(out.rglob("*.html"))
    for page in pages:
        page.write_text(without_empty_defaults(page.read_text()))
    return len(pages)


def without_empty_defaults(text: str) -> str:
    """Returns a page without the default values of parameters that have none."""
    return NO_DEFAULT.sub("", text)


if __name__ == "__main__":
    print(f"{OUT}/index.html  {write_pages(OUT)} pages")
