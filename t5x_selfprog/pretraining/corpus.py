"""Builds a pretraining corpus of Python source: clean, choose, tokenise, write.

Reads:    files of the given sources (`source_files`), and puzzle files to exclude (`leak_index`).
Writes:   OUT/clean/ (one file per source), OUT/documents/*.jsonl.gz, OUT/manifest.json, OUT/tokenizer/,
          OUT/{train,heldout}.bin (uint16 ids), OUT/tokens/{train,heldout}/ (ledgers of TOKENS records).
Restart:  the source while cleaning, then everything after it unless the manifest records the same inputs.
Left out: quality models, other languages, anything fetched while running.

Each document belongs to one view of the data: `files` (whole cleaned files), `functions` (short self-contained
functions, a dozen per document) or `checks` (the same for test functions).
"""

from __future__ import annotations

import ast
import collections
import concurrent.futures
import dataclasses
import gzip
import hashlib
import json
import multiprocessing
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from tqdm import tqdm

from t5x_selfprog import tokenizer as tokenizer_module
from t5x_selfprog.pretraining import cleaning, extraction, leak_index, source_files
from t5x_selfprog.pretraining.extraction import docstring_of
from t5x_selfprog.pretraining.leak_index import LeakIndex
from t5x_selfprog.pretraining.source_files import Refused, Source
from t5x_selfprog.tokenizer import Tokenizer, train_tokenizer
from verifier.errors import UserError
from verifier.storage.records import TOKENS
from verifier.storage.shards import Ledger, atomic_write

VIEWS = ("files", "functions", "checks")
MIN_LINE_BYTES = 20  # shorter lines are common and no evidence of copying


@dataclasses.dataclass(frozen=True)
class CorpusConfig:
    """What the corpus takes, and how often. Bytes count source text."""

    seed: int = 0
    max_source_bytes: int = 12_000_000  # from one distribution, so that a framework does not dominate
    heldout_fraction: float = 0.01
    min_new_lines: float = 0.25  # a file needs more than this share of lines not seen in earlier files
    seen_share: float = 0.7  # a file with more than this share of its code already seen is dropped
    seen_nodes: int = 60  # functions at least this large (about four lines) count as seen code
    functions_per_document: int = 12
    repeats: tuple[tuple[str, int], ...] = (
        ("files", 1),
        ("functions", 3),
        ("checks", 2),
    )  # of each view in a pass over train
    vocab_size: int = 4096
    record_tokens: int = 65_536
    shard_count: int = 16


def digest(*parts: Any) -> str:
    """Short hash of values that have a stable `repr`."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=10).hexdigest()


def _order(seed: int, *key: Any) -> str:
    """A sort key for shuffling, which depends only on the seed and the item."""
    return digest(seed, *key)


# ---------------------------------------------------------------------------------------------- step 1: clean


def clean_sources(sources: Iterable[Source], output: Path, config: CorpusConfig, workers: int) -> list[Path]:
    """Cleans every source into OUT/clean/NAME-VERSION-DIGEST.jsonl.gz; sources already there are not touched.

    A file is skipped if earlier ones had the same bytes or most of its lines (like the same module in the next version
    of Python). Returns the paths in the order of sources.
    """
    code = _code_digest(cleaning, extraction)
    seen: set[bytes] = set()
    paths = []
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
        for source in tqdm(list(sources), desc="clean", unit="source"):
            files, fresh = [], []
            for name, data in source_files.read_files(source):
                key = hashlib.sha256(data).digest()
                lines = {line for line in map(bytes.strip, data.split(b"\n")) if len(line) >= MIN_LINE_BYTES}
                if key not in seen and len(lines - seen) > config.min_new_lines * len(lines):
                    fresh.append((name, data, key.hex()))
                seen.add(key)
                seen |= lines
            budget = config.max_source_bytes if source.name != "cpython-stdlib" else 1 << 40
            for name, data, digits in sorted(fresh, key=lambda file: _order(config.seed, file[0])):
                if len(data) <= budget:
                    budget -= len(data)
                    files.append((name, data, digits))
            files.sort()
            stamp = digest(code, source.name, source.version, [(name, key) for name, _, key in files])
            path = output / "clean" / f"{source.name}-{source.version}-{stamp}.jsonl.gz"
            paths.append(path)
            if path.exists():
                continue
            jobs = [(source.name, source.version, name, data) for name, data, _ in files]
            rows = list(pool.map(_clean_row, jobs, chunksize=16))
            head = dataclasses.asdict(source) | {"files": len(rows)}
            _write_gzip(path, "\n".join(json.dumps(row) for row in [head, *rows]))
    for stale in set((output / "clean").glob("*.jsonl.gz")).difference(paths):
        stale.unlink()  # its source or the cleaning code has changed since
    return paths


def _clean_row(job: tuple[str, str, str, bytes]) -> dict:
    source, version, name, data = job
    row: dict[str, Any] = {"source": source, "version": version, "path": name, "bytes": len(data)}
    try:
        return row | dataclasses.asdict(cleaning.clean(data))
    except cleaning.Unusable as why:
        return row | {"unusable": str(why)}
    except RecursionError:
        return row | {"unusable": "nested too deeply"}


# --------------------------------------------------------------------------------------------- step 2: choose


class Chosen:
    """The documents of each view and split, and the counts that explain the choice."""

    def __init__(self) -> None:
        self.documents: list[dict] = []
        self.excluded: collections.Counter[str] = collections.Counter()
        self.leaks: list[dict] = []
        self.sources: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        self.licences: dict[str, dict] = {}


def choose(clean_paths: Iterable[Path], leaks: LeakIndex, config: CorpusConfig) -> Chosen:
    """Deduplicates, excludes evaluation problems, splits off held-out files, and gathers short functions.

    A function of at least `seen_nodes` nodes appears once in the whole corpus: later copies are cut from their files,
    and a file that consists mostly of copies is dropped. No such function of a held-out file is in a training file.
    """
    chosen = Chosen()
    seen: set[str] = set()
    snippets: dict[str, dict[str, tuple[str, str]]] = {"functions": {}, "checks": {}}
    for path in tqdm(list(clean_paths), desc="choose", unit="source"):
        rows = _read_gzip(path)
        head = next(rows)
        name = f"{head['name']} {head['version']}"
        chosen.licences[name] = {"licence": head["licence"], "files_cleaned": head["files"]}
        for row in rows:
            if "unusable" in row:
                chosen.excluded[row["unusable"]] += 1
                continue
            structures = [definition["structure"] for definition in row["definitions"]]
            snippet_structures = [structure for view in snippets for structure, _ in row[view]]
            found = leaks.leaks_of(row["text"], [*structures, *snippet_structures])
            if found:
                chosen.excluded["holds an evaluation problem"] += 1
                chosen.leaks.append({"source": name, "path": row["path"], "found": found[:5]})
                continue
            split = "heldout" if _unit_interval(config.seed, row) < config.heldout_fraction else "train"
            for view, kept in snippets.items():
                for structure, text in row[view]:
                    kept.setdefault(structure, (split, text))
            text, why = _without_seen(row, seen, config)
            if text is None:
                chosen.excluded[why] += 1
                continue
            _add(chosen, {"view": "files", "source": name, "path": row["path"], "split": split, "text": text})
    for view, kept in snippets.items():
        _gather(chosen, view, kept, config)
    return chosen


def _unit_interval(seed: int, row: dict) -> float:
    return int(_order(seed, "split", row["source"], row["path"])[:12], 16) / 16**12


def _without_seen(row: dict, seen: set[str], config: CorpusConfig) -> tuple[str | None, str]:
    """The file's text without functions seen before, or None with the reason to drop it. Updates `seen`."""
    large = [d for d in row["definitions"] if d["nodes"] >= config.seen_nodes]
    whole = digest(row["text"])
    if whole in seen:
        return None, "same text"
    seen.add(whole)
    old = [d for d in large if d["structure"] in seen]
    share = sum(d["nodes"] for d in old) / max(1, sum(d["nodes"] for d in large))
    if share > config.seen_share:
        return None, "mostly seen code"
    seen.update(d["structure"] for d in large)
    if not old:
        return row["text"], ""
    lines = row["text"].split("\n")
    for definition in old:
        for number in range(definition["first_line"] - 1, definition["last_line"]):
            lines[number] = "\0"
    text = "\n".join(line for line in lines if line != "\0")
    try:
        ast.parse(text)
    except SyntaxError:  # a class that consisted of copies only
        return None, "mostly seen code"
    return text, ""


def _gather(chosen: Chosen, view: str, kept: dict[str, tuple[str, str]], config: CorpusConfig) -> None:
    """Groups a dozen snippets per document, in a new grouping for each repetition of the view."""
    repeats = dict(config.repeats)[view]
    for split in ("train", "heldout"):
        members = [(structure, text) for structure, (where, text) in kept.items() if where == split]
        for repeat in range(repeats if split == "train" else 1):
            members.sort(key=lambda member: _order(config.seed, view, repeat, member[0]))
            for start in range(0, len(members), config.functions_per_document):
                texts = [text for _, text in members[start : start + config.functions_per_document]]
                path = f"{view}/{repeat}/{start}"
                text = "\n\n".join(texts) + "\n"
                _add(chosen, {"view": view, "source": view, "path": path, "split": split, "text": text})


def _add(chosen: Chosen, document: dict) -> None:
    chosen.documents.append(document)
    count = chosen.sources[document["source"]]
    count["documents"] += 1
    count["bytes"] += len(document["text"].encode())


def write_documents(chosen: Chosen, output: Path, config: CorpusConfig) -> list[Path]:
    """Writes documents in their final, shuffled order as JSONL shards, with `files` repeated as configured."""
    repeats = dict(config.repeats)["files"]
    documents = [
        (_order(config.seed, repeat, document["source"], document["path"]), document)
        for document in chosen.documents
        for repeat in range(repeats if document["view"] == "files" and document["split"] == "train" else 1)
    ]
    documents.sort(key=lambda item: item[0])
    paths = []
    for shard in range(config.shard_count):
        part = documents[
            shard * len(documents) // config.shard_count : (shard + 1) * len(documents) // config.shard_count
        ]
        path = output / "documents" / f"part-{shard:05d}-of-{config.shard_count:05d}.jsonl.gz"
        _write_gzip(path, "\n".join(json.dumps(document) for _, document in part))
        paths.append(path)
    return paths


# ------------------------------------------------------------------------------------------- step 3: tokenise


def tokenise(document_paths: Iterable[Path], tokenizer: Tokenizer, output: Path) -> dict[str, dict[str, int]]:
    """Writes OUT/{train,heldout}.bin: uint16 ids, each document followed by end-of-text. Returns counts."""
    streams: dict[str, list[np.ndarray]] = {"train": [], "heldout": []}
    counts: dict[str, collections.Counter[str]] = {
        f"{split} {view}": collections.Counter() for split in streams for view in VIEWS
    }
    for path in tqdm(list(document_paths), desc="tokenise", unit="shard"):
        documents = list(_read_gzip(path))
        for document, ids in zip(
            documents, tokenizer.encode_batch([d["text"] for d in documents]), strict=True
        ):
            streams[document["split"]].append(np.asarray([*ids, tokenizer.eos_id], np.uint16))
            count = counts[f"{document['split']} {document['view']}"]
            count.update(documents=1, tokens=len(ids) + 1, bytes=len(document["text"].encode()))
    for split, arrays in streams.items():
        atomic_write(output / f"{split}.bin", np.concatenate(arrays).tobytes() if arrays else b"")
    return {name: dict(count) for name, count in counts.items()}


def write_token_shards(output: Path, config: CorpusConfig, fingerprint: str, eos_id: int) -> None:
    """Writes the two .bin files as ledgers of TOKENS records: whole documents, at least `record_tokens` ids each."""
    for split, shard_count in (("train", config.shard_count), ("heldout", 1)):
        ids = np.fromfile(output / f"{split}.bin", np.uint16)
        directory = output / "tokens" / split
        if (directory / "ledger.json").exists() and Ledger.open(directory).fingerprint != fingerprint:
            shutil.rmtree(directory)  # left by an earlier corpus with other inputs
        ledger = Ledger(
            directory,
            stage="pretraining_corpus",
            schema=TOKENS,
            shard_count=shard_count,
            seed=config.seed,
            fingerprint=fingerprint,
        )
        records = list(_spans(ids, eos_id, config.record_tokens))
        for shard in tqdm(ledger.pending(), desc=f"shards {split}", unit="shard"):
            mine = records[shard * len(records) // shard_count : (shard + 1) * len(records) // shard_count]
            tokens = sum(end - start for start, end in mine)
            ledger.commit(shard, ({"tokens": ids[start:end].tolist()} for start, end in mine), tokens=tokens)
        ledger.finish()


def _spans(ids: np.ndarray, eos_id: int, record_tokens: int) -> Iterator[tuple[int, int]]:
    start = 0
    for end in np.flatnonzero(ids == eos_id) + 1:
        if end - start >= record_tokens or end == len(ids):
            yield start, int(end)
            start = int(end)


# -------------------------------------------------------------------------------------------------- all steps


def build(
    sources: Iterable[Source | Refused],
    leak_paths: Iterable[Path],
    output: Path,
    config: CorpusConfig,
    workers: int = 2,
    tokenizer_path: Path | None = None,
) -> dict:
    """Runs every step whose inputs changed; returns (and writes) the manifest.

    The tokenizer at `tokenizer_path` is used unchanged; without it, one is trained on this corpus.
    """
    found = list(sources)
    refused = [item for item in found if isinstance(item, Refused)]
    paths = clean_sources([s for s in found if isinstance(s, Source)], output, config, workers)
    leak_paths = list(leak_paths)
    code = _code_digest(sys.modules[__name__], leak_index, tokenizer_module)
    given = _file_digest(tokenizer_path / "tokenizer.json") if tokenizer_path else "trained here"
    leak_digests = [_file_digest(path) for path in leak_paths]
    fingerprint = digest(dataclasses.asdict(config), [p.name for p in paths], leak_digests, code, given)
    manifest_path = output / "manifest.json"
    if manifest_path.exists():
        manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
        if manifest["fingerprint"] == fingerprint:
            return manifest
        manifest_path.unlink()  # it describes files that are about to be replaced
    leaks = LeakIndex.load(leak_paths)
    chosen = choose(paths, leaks, config)
    document_paths = write_documents(chosen, output, config)
    if tokenizer_path is None:
        tokenizer_path = output / "tokenizer"
        train_tokenizer(_texts(document_paths), config.vocab_size, tokenizer_path)
    tokenizer = Tokenizer.load(tokenizer_path)
    counts = tokenise(document_paths, tokenizer, output)
    write_token_shards(output, config, fingerprint, tokenizer.eos_id)
    manifest = {
        "fingerprint": fingerprint,
        "config": dataclasses.asdict(config),
        "tokens": counts,
        "sources": {
            name: chosen.licences.get(name, {}) | dict(count) for name, count in chosen.sources.items()
        },
        "refused": [dataclasses.asdict(item) for item in refused],
        "excluded_files": dict(chosen.excluded.most_common()),
        "problems_checked": leaks.problem_count,
        "leaks": chosen.leaks,
    }
    text = json.dumps(manifest, indent=1)
    atomic_write(manifest_path, text)
    return json.loads(text)


def _code_digest(*modules: ModuleType) -> str:
    """A hash of modules' syntax trees without docstrings: a step runs again when its own code has changed."""
    trees = [ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8")) for module in modules]
    for docstring in filter(None, map(docstring_of, (node for tree in trees for node in ast.walk(tree)))):
        docstring.value = ast.Constant("")
    return digest([ast.dump(tree) for tree in trees])


def _file_digest(path: Path) -> str:
    """The SHA-256 of a file. Raises UserError if it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); it is an input of the corpus") from error


def _texts(document_paths: Iterable[Path]) -> Iterator[str]:
    for path in document_paths:
        for document in _read_gzip(path):
            if document["split"] == "train":
                yield document["text"]


def table(manifest: dict) -> str:
    """Sources and token counts, to print."""
    lines = [f"{'source':<44} {'licence':<26} {'documents':>9} {'MB':>8}"]
    by_bytes = sorted(manifest["sources"].items(), key=lambda item: -item[1].get("bytes", 0))
    for name, row in by_bytes:
        licence = row.get("licence", "")[:26]
        lines.append(f"{name[:44]:<44} {licence:<26} {row['documents']:>9,} {row['bytes'] / 1e6:>8.2f}")
    lines += ["", f"{'split and view':<44} {'documents':>12} {'tokens':>14} {'bytes/token':>12}"]
    for name, row in manifest["tokens"].items():
        if row:
            ratio = row["bytes"] / row["tokens"]
            lines.append(f"{name:<44} {row['documents']:>12,} {row['tokens']:>14,} {ratio:>12.2f}")
    lines += [
        "",
        "files left out: " + ", ".join(f"{why} {n:,}" for why, n in manifest["excluded_files"].items()),
    ]
    lines.append(
        f"distributions left out: {len(manifest['refused'])}, "
        f"files with evaluation problems left out: {len(manifest['leaks'])}"
    )
    return "\n".join(lines)


def _write_gzip(path: Path, text: str) -> None:
    atomic_write(path, gzip.compress(text.encode("utf-8", "surrogatepass"), compresslevel=4, mtime=0))


def _read_gzip(path: Path) -> Iterator[Any]:
    with gzip.open(path, "rt", encoding="utf-8", errors="surrogatepass", newline="\n") as file:
        for line in file:
            yield json.loads(line)
