from pathlib import Path

import pytest

from minimagen.source_closure import PACKAGE_FOLDER, source_closure


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package ``minimagen`` of a few files."""
    files = {
        "__init__.py": '"""Says nothing."""\n__version__ = "1"\n',
        "cli.py": "import minimagen.train\n",
        "journal.py": "import minimagen.files\n",
        "files.py": "import os\n",
        "shapes.py": "",
        "models/__init__.py": '"""Networks."""\n',
        "models/unet.py": "from minimagen.shapes import Images\nfrom minimagen.models import layers\n",
        "models/layers.py": "",
        "report/__init__.py": "from minimagen.report.page import show\n",
        "report/page.py": 'TEMPLATE = "page.html"\n',
        "report/page.html": "<p>",
        "train.py": "from minimagen.models.unet import UNet\nfrom minimagen.journal import Journal\n",
    }
    for name, content in files.items():
        path = tmp_path / "minimagen" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path / "minimagen"


def closure(package: Path, name: str) -> list[str]:
    return [path.relative_to("minimagen").as_posix() for path in source_closure(package / name, package)]


def test_closure_follows_imports_and_leaves_out_what_changes_no_result(package: Path) -> None:
    assert closure(package, "train.py") == ["models/layers.py", "models/unet.py", "shapes.py", "train.py"]


def test_closure_sees_imports_inside_functions(package: Path) -> None:
    (package / "late.py").write_text("def run():\n    if True:\n        import minimagen.shapes\n")
    assert closure(package, "late.py") == ["late.py", "shapes.py"]


def test_closure_leaves_imports_for_type_checkers_out(package: Path) -> None:
    (package / "typed.py").write_text("if TYPE_CHECKING:\n    from minimagen.models.unet import UNet\n")
    assert closure(package, "typed.py") == ["typed.py"]


def test_closure_holds_an_init_that_imports_and_files_named_beside(package: Path) -> None:
    (package / "tell.py").write_text("from minimagen.report import show\n")
    assert closure(package, "tell.py") == ["report/__init__.py", "report/page.html", "report/page.py", "tell.py"]


def test_closure_ends_where_imports_go_round(package: Path) -> None:
    (package / "a.py").write_text("import minimagen.b\n")
    (package / "b.py").write_text("import minimagen.a\n")
    assert closure(package, "a.py") == ["a.py", "b.py"]


def test_closure_of_a_module_that_nothing_is_imported_by_is_itself() -> None:
    assert source_closure(PACKAGE_FOLDER / "errors.py") == (Path("minimagen/errors.py"),)
