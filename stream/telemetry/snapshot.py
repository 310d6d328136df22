"""All workers' metrics at one moment, asked over HTTP, and sums over them as Prometheus would make them."""

import time
import urllib.request
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

ANSWER_TIMEOUT_S = 2.0
JOB = "points"  # as docs/monitoring/prometheus.yaml calls it


class Sample(NamedTuple):
    """One number of one worker; `labels` has its `instance`, here the name of its process."""

    labels: Mapping[str, str]
    value: float


class Snapshot(NamedTuple):
    """Samples by name. `at_s` is monotonic."""

    at_s: float
    samples: dict[str, list[Sample]]

    def select(self, name: str, **labels: str) -> list[Sample]:
        """All samples of a name with these labels."""
        return [
            sample
            for sample in self.samples.get(name, [])
            if all(sample.labels.get(label) == value for label, value in labels.items())
        ]

    def sums(self, name: str, by: tuple[str, ...], **labels: str) -> dict[tuple[str, ...], float]:
        """`sum by (...)` of the selected samples."""
        sums: dict[tuple[str, ...], float] = {}
        for sample in self.select(name, **labels):
            key = tuple(sample.labels.get(label, "") for label in by)
            sums[key] = sums.get(key, 0.0) + sample.value
        return sums

    def total(self, name: str, **labels: str) -> float:
        """Sum of the selected samples."""
        return sum(sample.value for sample in self.select(name, **labels))


def take(addresses: Mapping[str, str | None]) -> Snapshot:
    """Asks every worker (name -> host:port, None for one that does not run). Never fails: `up` of one that
    does not answer is 0, as in Prometheus."""
    with ThreadPoolExecutor(max(1, len(addresses))) as threads:
        pages = list(threads.map(_page, addresses.values()))
    samples: dict[str, list[Sample]] = {}
    for name, page in zip(addresses, pages, strict=True):
        up = Sample({"job": JOB, "instance": name}, float(page is not None))
        samples.setdefault("up", []).append(up)
        for metric, sample in read(page or "", name):
            samples.setdefault(metric, []).append(sample)
    return Snapshot(time.monotonic(), samples)


def read(page: str, instance: str) -> Iterable[tuple[str, Sample]]:
    """The samples of one exposition."""
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            yield sample.name, Sample({**sample.labels, "instance": instance}, sample.value)


def _page(address: str | None) -> str | None:
    if address is None:
        return None
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=ANSWER_TIMEOUT_S) as answer:
            return answer.read().decode()
    except (OSError, HTTPException, UnicodeDecodeError):
        return None
