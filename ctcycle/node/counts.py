"""Counters of what happened since the start, for the status page and Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Histogram


class Counts:
    """Counters in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._objects = Counter("ctcycle_objects_received", "Objects stored", ["kind"], registry=self.registry)
        self._bytes = Counter("ctcycle_received_bytes", "Bytes of objects stored", registry=self.registry)
        self._refused = Counter("ctcycle_objects_refused", "Objects refused", ["reason"], registry=self.registry)
        self._slices = Counter("ctcycle_slices_denoised", "Slices denoised", registry=self.registry)
        self._seconds = Histogram(
            "ctcycle_denoise_seconds",
            "Time to denoise a series",
            buckets=(1, 3, 10, 30, 100, 300, 1000, 3000),
            registry=self.registry,
        )
        self._sent = Counter(
            "ctcycle_objects_sent", "Objects that a destination acknowledged", ["destination"], registry=self.registry
        )
        self._failures = Counter(
            "ctcycle_send_failures", "Attempts to send that failed", ["destination"], registry=self.registry
        )

    def received(self, size: int, *, new: bool) -> None:
        """Count an object that was stored."""
        self._objects.labels("new" if new else "repeated").inc()
        self._bytes.inc(size)

    def refused(self, kind: str) -> None:
        """Count an object that was refused."""
        self._refused.labels(kind).inc()

    def slice_denoised(self) -> None:
        """Count a slice."""
        self._slices.inc()

    def series_denoised(self, seconds: float) -> None:
        """Count a series and its time."""
        self._seconds.observe(seconds)

    def sent(self, destination: str) -> None:
        """Count an object that a destination acknowledged."""
        self._sent.labels(destination).inc()

    def failed(self, destination: str) -> None:
        """Count an attempt to send that failed."""
        self._failures.labels(destination).inc()
