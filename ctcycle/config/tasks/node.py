"""Sections of the task `serve`: who may send, when a series is complete, how it is denoised, and where it goes."""

import re
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from ctcycle.config.sections import Count, Device, FilePath, Positive, Section, Strength, Task

AETitle = Annotated[str, StringConstraints(pattern=r"^[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?$")]
"""An application entity title: 1 to 16 printable ASCII characters without backslash (PS3.5, VR AE)."""

Port = Annotated[int, Field(ge=1, le=65535)]
Action = Literal["denoise", "pass_on", "leave"]
OtherAction = Literal["pass_on", "leave"]


class TLSSettings(Section):
    """Certificates of one side of a connection, as PEM files."""

    certificate: FilePath = Field(description="certificate of the node, with its chain")
    key: FilePath = Field(description="private key of the certificate, without a passphrase")
    authorities: FilePath = Field(
        description="certificates of the authorities that sign those of peers; every peer must show one"
    )


class CallerSettings(Section):
    """A peer that may open associations."""

    addresses: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="IP addresses and networks it may call from, such as 10.0.0.7 or 10.0.0.0/24"
    )
    port: Port | None = Field(
        None, description="where it listens, for storage commitment reports; null: on the same association"
    )

    @field_validator("addresses")
    @classmethod
    def _are_networks(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        for address in addresses:
            try:
                ip_network(address)
            except ValueError:
                raise ValueError(
                    f"'{address}' is not an IP address or network, such as 10.0.0.7 or 10.0.0.0/24"
                ) from None
        return addresses

    def admits(self, address: str) -> bool:
        """Return whether it may call from an IP address."""
        found = ip_address(address)
        mapped = getattr(found, "ipv4_mapped", None) or found
        return any(mapped in ip_network(network) for network in self.addresses)


class LimitSettings(Section):
    """Limits that protect the node from its peers."""

    associations: Count = Field(10, description="associations at one time; more are refused for the moment")
    pdu_kb: Annotated[int, Field(ge=4, le=4096)] = Field(128, description="largest PDU to accept, in KiB")
    object_mb: Count = Field(1024, description="largest object to accept, in MB; a larger one ends its association")
    free_mb: Count = Field(2048, description="space to leave free on the disk of `out`, in MB")
    spool_gb: Positive = Field(200.0, description="largest total size of the spool, in GB")
    idle_seconds: Positive = Field(60.0, description="a peer that is silent for so long is disconnected")


class CompletionSettings(Section):
    """When a series is taken for complete."""

    quiet_seconds: Positive = Field(30.0, description="after so long without another instance of the series")
    announced: bool = Field(
        True, description="also when as many instances as NumberOfSeriesRelatedInstances says have arrived"
    )


class RuleSettings(Section):
    """What to do with CT series whose headers match; all given patterns must match."""

    kernel: str | None = Field(None, description="pattern for ConvolutionKernel, such as B30*; null: any")
    body_part: str | None = Field(None, description="pattern for BodyPartExamined; null: any")
    calling: str | None = Field(None, description="pattern for the AE title of the sender; null: any")
    action: Action = Field(
        "denoise", description="denoise, pass_on (send the source unchanged) or leave (send nothing)"
    )
    model: FilePath | None = Field(None, description="run folder or bundle folder; null: the shipped bundle")
    checkpoint: Literal["best", "last"] | None = Field(None, description="of a run folder")
    strength: Strength = Field(
        1.0, description="0 to 2, or auto: chosen for each series, so that the noise of a routine dose is left"
    )
    strict: bool = Field(False, description="refuse series unlike the training data instead of logging a warning")
    average_flips: bool | None = Field(None, description="mean over four flips; null: the model's default")
    keep_private: bool = Field(False, description="keep private DICOM elements")
    send_source: bool = Field(False, description="also send the source to the destinations")
    destinations: tuple[str, ...] | None = Field(None, description="names of destinations; null: all")

    def matches(self, kernel: str, body_part: str, calling: str) -> bool:
        """Return whether the rule applies; patterns are compared without regard to case."""
        pairs = ((self.kernel, kernel), (self.body_part, body_part), (self.calling, calling))
        return all(pattern is None or fnmatchcase(found.upper(), pattern.upper()) for pattern, found in pairs)


class OtherSettings(Section):
    """What to do with what is not denoised: leave (send nothing) or pass_on (send it unchanged)."""

    not_ct: OtherAction = Field("leave", description="other modalities and objects, if `other_classes` lets them in")
    localizer: OtherAction = Field("leave", description="localizers (scouts)")
    bolus: OtherAction = Field("leave", description="bolus trackers: one position imaged again and again")
    own: OtherAction = Field("leave", description="series that ctcycle made")
    refused: OtherAction = Field("leave", description="series that `ctcycle denoise` would refuse")
    no_rule: OtherAction = Field("leave", description="CT series that no rule matches")


class DestinationSettings(Section):
    """Where results go: a DICOM peer (ae_title, host, port) or a DICOMweb server (url)."""

    ae_title: AETitle | None = Field(None, description="AE title of the DICOM peer")
    host: str | None = Field(None, description="host name or address of the DICOM peer")
    port: Port | None = Field(None, description="port of the DICOM peer")
    tls: TLSSettings | None = Field(None, description="certificates, if the DICOM peer uses TLS")
    commitment: bool = Field(False, description="ask for storage commitment after sending; only for a DICOM peer")
    commitment_minutes: Positive = Field(60.0, description="ask again if there was no report for so long")
    url: str | None = Field(None, description="of a DICOMweb server, such as http://127.0.0.1:8042/dicom-web")
    user: str | None = Field(None, description="user name at the DICOMweb server")
    password_file: FilePath | None = Field(None, description="file with the password at the DICOMweb server")
    timeout_seconds: Positive = Field(60.0, description="a peer that does not answer for so long has failed")
    retry_seconds: Positive = Field(5.0, description="wait after the first failure; doubled after each further one")
    retry_max_seconds: Positive = Field(300.0, description="the longest wait")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        dicom = (self.ae_title, self.host, self.port)
        if (self.url is None) == (None in dicom) or (self.url is not None and any(dicom)):
            raise ValueError("set ae_title, host and port, or set url")
        if self.url is not None and not re.match(r"https?://[^/\s]+", self.url):
            raise ValueError(f"'{self.url}' is not a URL; write http://HOST:PORT/PATH or https://...")
        if self.url is not None and self.commitment:
            raise ValueError("storage commitment needs a DICOM peer, not a url")
        if (self.user is None) != (self.password_file is None):
            raise ValueError("set both user and password_file, or neither")
        return self


class PullSettings(Section):
    """Studies to fetch from an archive, by query."""

    source: str = Field(description="name of the destination that is also the archive to query")
    query: dict[str, str] = Field(
        description="DICOM keywords and the values to match, such as StudyDate: 20240101-20240131"
    )
    studies_per_hour: Positive = Field(20.0, description="the highest rate of studies")

    @field_validator("query")
    @classmethod
    def _is_selective(cls, query: dict[str, str]) -> dict[str, str]:
        if not any(value.strip("* ") for value in query.values()):
            raise ValueError("the query matches every study; restrict it, for example by StudyDate")
        return query


class StatusSettings(Section):
    """The status page, ``/health`` and ``/metrics``."""

    host: str = Field("127.0.0.1", description="address to listen on; the page has no password, so keep it local")
    port: Port | None = Field(8118, description="null: no status page")


class Serve(Task):
    """Run a DICOM node: receive series, denoise them, and send the results; `out` is its spool."""

    task: Literal["serve"]
    ae_title: AETitle = Field("CTCYCLE", description="AE title of the node")
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0: all")
    port: Port = Field(11112, description="port to listen on")
    tls: TLSSettings | None = Field(None, description="accept only TLS connections whose peer shows a certificate")
    callers: Annotated[dict[str, CallerSettings], Field(min_length=1)] = Field(
        description="peers that may call, by AE title; '*' is any title"
    )
    limits: LimitSettings = LimitSettings()
    completion: CompletionSettings = CompletionSettings()
    other_classes: bool = Field(False, description="also accept objects that are not CT images")
    rules: tuple[RuleSettings, ...] = Field((RuleSettings(),), description="the first that matches a series decides")
    others: OtherSettings = OtherSettings()
    destinations: Annotated[dict[str, DestinationSettings], Field(min_length=1)] = Field(
        description="where results go, by a name of your choice"
    )
    pull: dict[str, PullSettings] = Field(default_factory=dict, description="retrospective work, by name")
    status: StatusSettings = StatusSettings()
    device: Device = Field("auto", description="auto, cpu, cuda, cuda:1 or mps")
    remember_days: Positive = Field(30.0, description="how long finished series stay listed")

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        if self.overwrite:
            raise ValueError("overwrite: a spool is never replaced; choose another `out`")
        for number, rule in enumerate(self.rules, 1):
            for name in rule.destinations or ():
                self._check_destination(f"rule {number}", name)
        for name, pull in self.pull.items():
            self._check_destination(f"pull.{name}", pull.source)
        return self

    def _check_destination(self, where: str, name: str) -> None:
        if name not in self.destinations:
            known = ", ".join(self.destinations)
            raise ValueError(f"{where}: no destination named '{name}'; there are {known}")
