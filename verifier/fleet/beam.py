"""The same judging on Apache Beam: attempts in TFRecord files, verdicts out, on any runner.

  python -m verifier.fleet.beam --input 'gs://bucket/attempts/*.tfrecord' --output gs://bucket/verdicts/part \\
      --runner DataflowRunner --project P --region R --sdk_container_image IMAGE --temp_location gs://bucket/tmp

Without --runner it runs here. A worker of the pipeline keeps one pool of sandboxes for all its bundles. On
Dataflow, Flink and Spark the worker is a container: one with this package and Beam's boot program, as in

  FROM apache/beam_python3.11_sdk:2.77.0
  COPY . /src
  RUN pip install /src[beam]
  # (no dependency of the project's other half is needed: `pip install --no-deps /src google-crc32c` does too)

Where the container may not make namespaces, the layers below are used; `require` refuses to run on less than
you want, and `python -m verifier doctor` in the container says what is missing.

Left out: order. Beam keeps none; a verdict carries its attempt, puzzle_id and sample_index.
"""

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions

from verifier import Limits, Pool
from verifier.storage.records import ATTEMPT, VERDICT, decode, encode


class JudgeBatches(beam.DoFn):
    """Batches of attempts (mappings with "puzzle" and "solution") to verdict records, one by one.

    pool: the arguments of Pool except `limits`, as {"workers": 2, "require": "landlock"}.
    """

    def __init__(self, limits: Limits, pool: Mapping[str, Any]):
        self._limits, self._options = limits, dict(pool)
        self._pool: Pool | None = None
        self._accepted = beam.metrics.Metrics.counter("verifier", "accepted")
        self._infrastructure = beam.metrics.Metrics.counter("verifier", "infrastructure")
        self._verdicts = beam.metrics.Metrics.counter("verifier", "verdicts")

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_pool": None}  # a pool cannot be pickled

    def setup(self) -> None:
        self._pool = Pool(limits=self._limits, **self._options)

    def process(self, batch: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        assert self._pool is not None
        for attempt, verdict in zip(batch, self._pool.judge(batch), strict=True):
            self._verdicts.inc()
            self._accepted.inc(int(verdict.accepted))
            self._infrastructure.inc(int(verdict.outcome == "infrastructure"))
            yield verdict.as_record(attempt)

    def teardown(self) -> None:
        if self._pool is not None:
            self._pool.close()


class Judge(beam.PTransform):
    """A collection of attempts to one of verdict records."""

    def __init__(self, limits: Limits = Limits(), batch_size: int = 2048, **pool: Any):
        super().__init__()
        self._limits, self._batch_size, self._pool = limits, batch_size, pool

    def expand(self, attempts: Any) -> Any:
        batches = attempts | beam.BatchElements(
            min_batch_size=min(64, self._batch_size), max_batch_size=self._batch_size
        )
        return batches | beam.ParDo(JudgeBatches(self._limits, self._pool))


def judge_files(pipeline: Any, pattern: str, output: str, limits: Limits = Limits(), **options: Any) -> Any:
    """TFRecord files of attempts to TFRecord files of verdicts: `output`-00000-of-0000N.tfrecord."""
    return (
        pipeline
        | "read" >> beam.io.ReadFromTFRecord(pattern)
        | "decode" >> beam.Map(decode, ATTEMPT)
        | "judge" >> Judge(limits, **options)
        | "encode" >> beam.Map(encode, VERDICT)
        | "write" >> beam.io.WriteToTFRecord(output, file_name_suffix=".tfrecord")
    )


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input", required=True, metavar="PATTERN")
    parser.add_argument("--output", required=True, metavar="PREFIX")
    parser.add_argument("--workers", type=int, help="sandboxes a worker of the pipeline (one for each CPU)")
    parser.add_argument("--timeout_s", type=float, default=1.0, help="CPU seconds an attempt may use")
    parser.add_argument("--require", default="rlimits", help="refuse to run below this level of isolation")
    options, rest = parser.parse_known_args(None if arguments is None else list(arguments))
    runner = PipelineOptions(rest)
    runner.view_as(SetupOptions).save_main_session = False
    with beam.Pipeline(options=runner) as pipeline:
        limits = Limits(cpu_s=options.timeout_s)
        judge_files(
            pipeline, options.input, options.output, limits, workers=options.workers, require=options.require
        )


if __name__ == "__main__":
    main()
