"""Packages of a job are unpacked into its folder and nowhere else, and their requirements are compared."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from edge_tasks.emulator.runtime.packages import PackageError, check, unpack
from tests.emulator.harness import sdist


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def wheel(files: dict[str, str]) -> bytes:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return output.getvalue()


def tar(*members: tarfile.TarInfo) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w:gz") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return output.getvalue()


def names(site: Path) -> set[str]:
    return {str(path.relative_to(site)) for path in site.rglob("*") if path.is_file()}


def test_packages_in_a_folder_of_their_own_are_found_by_the_names_that_setuptools_notes(tmp_path: Path) -> None:
    files = {
        "lib/pkg/__init__.py": "",
        "lib/pkg/deep/__init__.py": "",
        "lib/single.py": "",
        "lib/pkg.egg-info/top_level.txt": "pkg\nsingle\n",
        "lib/pkg.egg-info/requires.txt": "a>1\n",
    }
    found = unpack(write(tmp_path / "pkg-1.0.tar.gz", sdist("pkg", "1.0", files)), tmp_path / "site")
    assert found.requirements == ("a>1",)
    code = {"pkg/__init__.py", "pkg/deep/__init__.py", "single.py"}
    assert names(tmp_path / "site") == {*code, "pkg-1.0.dist-info/METADATA"}


ONLY_LISTS = (
    "from setuptools import find_packages, setup\n\nsetup(name='pkg', version='1.0', packages=find_packages())\n"
)


def test_a_source_distribution_that_only_lists_its_packages_is_not_built(tmp_path: Path) -> None:
    files = {"setup.py": ONLY_LISTS, "pkg/__init__.py": ""}
    unpack(write(tmp_path / "pkg-1.0.tar.gz", sdist("pkg", "1.0", files)), tmp_path / "site")
    # Of a build there would be more, such as RECORD.
    assert names(tmp_path / "site") == {"pkg/__init__.py", "pkg-1.0.dist-info/METADATA"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "builder",
    [
        {"setup.py": "import setuptools\nopen('lib/pkg/made.py', 'w').write('A = 1')\nsetuptools.setup(name='pkg',"
                     " version='1.1', package_dir={'': 'lib'}, packages=['pkg'], install_requires=['b>2'])"},
        {"pyproject.toml": "[project]\nname = 'pkg'\nversion = '1.1'\ndependencies = ['b>2']\n"
                           "[tool.setuptools]\npackage-dir = {'' = 'lib'}\npackages = ['pkg']\n",
         "lib/pkg/made.py": ""},
    ],
)  # fmt: skip
def test_a_source_distribution_that_has_to_be_built_is_built_by_pip(tmp_path: Path, builder: dict[str, str]) -> None:
    site = tmp_path / "site"
    unpack(write(tmp_path / "other-1.0.tar.gz", sdist("other", "1.0", {"shared/other.py": ""})), site)
    content = sdist("pkg", "1.0", {"lib/pkg/__init__.py": "", **builder})
    found = unpack(write(tmp_path / "pkg-1.0.tar.gz", content), site)
    assert (found.name, found.version, found.requirements) == ("pkg", "1.1", ("b>2",))
    assert {"pkg/__init__.py", "pkg/made.py", "shared/other.py"} <= names(site)
    check(("pkg==1.1",), "the test", site)


def test_a_build_that_fails_says_what_pip_said(tmp_path: Path) -> None:
    content = sdist("pkg", "1.0", {"setup.py": "raise SystemExit('no compiler here')"})
    with pytest.raises(PackageError, match=r"pkg-1\.0\.tar\.gz cannot be installed(.|\n)*no compiler here"):
        unpack(write(tmp_path / "pkg-1.0.tar.gz", content), tmp_path / "site")


def test_a_source_distribution_gives_its_packages_modules_and_data(tmp_path: Path) -> None:
    files = {
        "pkg/__init__.py": "",
        "pkg/data.txt": "data",
        "namespace/inner/mod.py": "",
        "single.py": "",
        "tests/test_x.py": "",
        "docs/conf.py": "",
        "pkg.egg-info/entry_points.txt": "[x]",
    }
    found = unpack(write(tmp_path / "pkg-1.0.tar.gz", sdist("pkg", "1.0", files, ("a>1",))), tmp_path / "site")
    assert found == ("pkg", "1.0", ("a>1",))
    assert names(tmp_path / "site") == {
        "pkg/__init__.py",
        "pkg/data.txt",
        "namespace/inner/mod.py",
        "single.py",
        "pkg-1.0.dist-info/METADATA",
        "pkg-1.0.dist-info/entry_points.txt",
    }


def test_a_src_layout_gives_what_is_below_src(tmp_path: Path) -> None:
    files = {"pyproject.toml": "", "noise.py": "", "src/pkg/__init__.py": "", "src/single.py": ""}
    unpack(write(tmp_path / "pkg-1.0.tar.gz", sdist("pkg", "1.0", files)), tmp_path / "site")
    assert names(tmp_path / "site") == {"pkg/__init__.py", "single.py", "pkg-1.0.dist-info/METADATA"}


def test_requirements_of_old_source_distributions_are_found(tmp_path: Path) -> None:
    requires = (
        "plain>=1\n\n[:python_version >= '3']\nmarked\n\n[extra]\nleft-out\n\n[extra:python_version >= '3']\nalso-out\n"
    )
    content = sdist("pkg", "1.0", {"pkg/__init__.py": "", "pkg.egg-info/requires.txt": requires})
    found = unpack(write(tmp_path / "pkg-1.0.tar.gz", content), tmp_path / "site")
    assert found.requirements == ("plain>=1", "marked ; python_version >= '3'")


def test_a_wheel_is_unpacked_with_its_metadata(tmp_path: Path) -> None:
    metadata = "Metadata-Version: 2.1\nName: My.Pkg\nVersion: 3\nRequires-Dist: b\n"
    content = wheel(
        {"pkg/__init__.py": "", "my_pkg-3.dist-info/METADATA": metadata, "my_pkg-3.data/purelib/more.py": ""}
    )
    site = tmp_path / "site"
    assert unpack(write(tmp_path / "my_pkg-3-py3-none-any.whl", content), site) == ("My.Pkg", "3", ("b",))
    assert (site / "more.py").is_file()
    check(("my-pkg==3",), "the test", site)


def linked(name: str, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


def sized(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = 1
    return member


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a-1.tar.gz", tar(sized("a-1/../../outside.py"))),
        ("a-1.tar.gz", tar(sized("/outside.py/../../../outside.py"))),
        ("a-1.tar.gz", tar(linked("a-1/link", "../../.."), sized("a-1/link/outside.py"))),
        ("a-1.whl", wheel({"../outside.py": "", "a-1.dist-info/METADATA": "Name: a"})),
        ("a-1.whl", wheel({"/outside.py": "", "a-1.dist-info/METADATA": "Name: a"})),
    ],
)
def test_an_archive_cannot_write_outside_its_folder(tmp_path: Path, name: str, content: bytes) -> None:
    home = tmp_path / "deep" / "deeper" / "home"
    home.mkdir(parents=True)
    archive = write(home / name, content)
    with pytest.raises(PackageError):
        unpack(archive, home / "site")
    assert not list(tmp_path.rglob("outside.py"))


@pytest.mark.parametrize("name", ["a.tar.gz", "a.whl", "a.exe"])
def test_what_is_no_archive_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(PackageError, match=name):
        unpack(write(tmp_path / name, b"garbage"), tmp_path / "site")


def test_requirements_are_compared_by_version_and_marker(tmp_path: Path) -> None:
    check(("pytest>=1", "nope; python_version < '3'", "nope; extra == 'x'"), "pkg 1", tmp_path)
    with pytest.raises(PackageError, match=r"pkg 1 requires pytest<1 \(installed: .*pip install 'pytest<1'"):
        check(("pytest<1",), "pkg 1", tmp_path)
    with pytest.raises(PackageError, match=r"nope \(not installed\)"):
        check(("nope",), "pkg 1", tmp_path)
    with pytest.raises(PackageError, match="not a requirement"):
        check(("!!",), "pkg 1", tmp_path)


def test_what_the_extras_of_a_requirement_ask_for_is_compared_too(tmp_path: Path) -> None:
    """The SDK's `enable_autolog` asks for google-cloud-aiplatform[autologging], which needs mlflow."""
    extras = "Requires-Dist: nope>1; extra == 'one'\nRequires-Dist: pkg[one]; extra == 'all'\n"
    extras += "Requires-Dist: pkg[all]; extra == 'all'\nRequires-Dist: pytest; extra == 'two'\n"
    metadata = f"Metadata-Version: 2.1\nName: pkg\nVersion: 3\n{extras}"
    unpack(write(tmp_path / "pkg-3-py3-none-any.whl", wheel({"pkg-3.dist-info/METADATA": metadata})), tmp_path)
    check(("pkg", "pkg[two]>=3"), "the job", tmp_path)
    for extra in ("one", "all"):
        with pytest.raises(PackageError, match=r"the job requires nope>1 \(not installed\).*pip install 'nope>1'"):
            check((f"pkg[{extra}]",), "the job", tmp_path)
