"""Whole ways through real archives: what comes back is what `ctcycle denoise` gives, as a new series of its study."""

import io
import json
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from certificates import make_certificate
from dicom_validators import complaints
from node_peers import (
    NEEDS_PEERS,
    ROOT,
    NodeProcess,
    Orthanc,
    free_port,
    make_series,
    node_config,
    running,
    storescu,
    wait_for,
)
from node_sending import settled
from nursery import nursery
from pydicom import Dataset, dcmread
from pydicom.uid import CTImageStorage

pytestmark = NEEDS_PEERS
_PATIENCE_S = 300.0
REAL = {
    "C-STORE": ("volumes/ACRIN-001_ge_petct",),
    "DICOMweb": ("volumes/C3L-00189_ge_abdomen_lungkernel",),
}
"""Series of three slices, for the sake of time."""


def denoised_alone(place: Path, folder: Path) -> dict[str, Dataset]:
    """What `ctcycle denoise` writes, by the source image of each slice."""
    out, log = place / "alone", place / "alone.log"
    code = nursery(ROOT).start(["denoise", str(folder), str(out), "--device", "cpu"], place, log).wait(_PATIENCE_S)
    assert code == 0, log.read_text()
    return by_source(dcmread(file) for file in out.rglob("*.dcm"))


def by_source(datasets: Iterable[Dataset]) -> dict[str, Dataset]:
    return {str(one.SourceImageSequence[0].ReferencedSOPInstanceUID): one for one in datasets}


def came_back(archive: Orthanc) -> dict[str, Dataset]:
    """The denoised slices that an archive holds; each series is listed in the study of its source."""
    found = []
    for study in archive.get("/studies?expand"):
        series = [archive.get(f"/series/{one}") for one in study["Series"]]
        ours = [one for one in series if "ctcycle denoised" in one["MainDicomTags"].get("SeriesDescription", "")]
        assert len(ours) == len(series) - len(ours)
        instances = [item for one in ours for item in one["Instances"]]
        found += [dcmread(io.BytesIO(archive.content(f"/instances/{instance}/file"))) for instance in instances]
    return by_source(found)


def check_same(place: Path, sources: Iterable[Path], found: Mapping[str, Dataset]) -> None:
    """The same pixels for the same source images, and no fault that the source lacks."""
    wanted = denoised_alone(place, place / "sent")
    originals = {str(dcmread(file, stop_before_pixels=True).SOPInstanceUID): file for file in sources}
    assert found.keys() == wanted.keys() == originals.keys()
    for uid, dataset in found.items():
        assert np.array_equal(dataset.pixel_array, wanted[uid].pixel_array)
        assert dataset.StudyInstanceUID == wanted[uid].StudyInstanceUID
        file = place / "returned.dcm"
        dataset.save_as(file)
        assert not complaints(file) - complaints(originals[uid])


def gather(place: Path, folders: Iterable[Path]) -> list[Path]:
    """Copy series side by side, as a study list that everything is sent from."""
    files = []
    for number, folder in enumerate(folders):
        target = place / "sent" / f"{number:02d}"
        target.mkdir(parents=True)
        wanted = sorted(file for file in folder.iterdir() if file.suffix.lower() in {".dcm", ".ima"})
        files += [Path(shutil.copyfile(file, target / f"{file.stem}.dcm")) for file in wanted]
    return files


def phantoms(place: Path) -> list[Path]:
    return [file for number in (1, 6) for file in make_series(place / "sent" / str(number), number, size=64)]


def through_c_store(place: Path, files: list[Path]) -> dict[str, Dataset]:
    """Archive, node, and back to the same archive by C-STORE."""
    port = free_port()
    archive = Orthanc(place / "archive", {"ctcycle": ["CTCYCLE", "127.0.0.1", port]})
    node = NodeProcess(place, node_config(place, archive.port, port=port, **_SLOWLY))
    with running(archive, node):
        post(archive, files)
        archive.post("/modalities/ctcycle/store", archive.get("/series"))
        wait_for(lambda: settled(node), _PATIENCE_S)
        return came_back(archive)


def through_the_web(place: Path, files: list[Path]) -> dict[str, Dataset]:
    """Found by QIDO-RS, fetched by WADO-RS, and back to the same archive by STOW-RS."""
    archive = Orthanc(place / "archive", web=True)
    web = {"url": f"{archive.url}/dicom-web", "retry_seconds": 0.5}
    studies = sorted({str(dcmread(file, stop_before_pixels=True).StudyInstanceUID) for file in files})
    pull = {
        f"study{number}": {"source": "web", "query": {"StudyInstanceUID": uid}, "studies_per_hour": 360000.0}
        for number, uid in enumerate(studies)
    }
    node = NodeProcess(place, node_config(place, archive.port, destinations={"web": web}, pull=pull, **_SLOWLY))
    with running(archive):
        post(archive, files)
        with running(node):
            wait_for(lambda: node.log().count("fetched a study") == len(studies) and settled(node), _PATIENCE_S)
            return came_back(archive)


_SLOWLY: dict[str, Any] = {"rules": [{}], "completion": {"quiet_seconds": 1.5}}
WAYS = {"C-STORE": through_c_store, "DICOMweb": through_the_web}


def post(archive: Orthanc, files: Iterable[Path]) -> None:
    for file in files:
        archive.post("/instances", file.read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_phantoms_come_back_as_denoise_makes_them(place: Path, way: str) -> None:
    files = phantoms(place)
    check_same(place, files, WAYS[way](place, files))


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("way", WAYS)
def test_real_series_come_back_as_denoise_makes_them(place: Path, real_data: Path, way: str) -> None:
    files = gather(place, [real_data / name for name in REAL[way]])
    check_same(place, files, WAYS[way](place, files))


def test_the_script_of_the_docs_forwards_every_ct_series_once(place: Path) -> None:
    found = re.search(r"```lua\n(.*?)```", (ROOT / "docs" / "node.md").read_text(), re.DOTALL)
    assert found
    (place / "forward.lua").write_text(found[1])
    port = free_port()
    extra = {"LuaScripts": [str(place / "forward.lua")], "StableAge": 1}
    archive = Orthanc(place / "archive", {"ctcycle": ["CTCYCLE", "127.0.0.1", port]}, extra=extra)
    node = NodeProcess(place, node_config(place, archive.port, port=port))
    with running(archive, node):
        post(archive, phantoms(place))
        wait_for(lambda: node.jobs() == {"done": 2, "left": 2}, _PATIENCE_S)  # its own results are left
        assert [len(one) for one in archive.denoised().values()] == [3, 3]


@pytest.mark.slow
def test_the_script_for_orthanc_alone(place: Path) -> None:
    """`deploy/orthanc_stable_series.lua`, with which Orthanc calls `ctcycle denoise`."""
    files = phantoms(place)
    program = place / "ctcycle"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'import ctcycle.run as r; exit(r.command())' \"$@\"\n")
    program.chmod(0o700)
    script = str(ROOT / "deploy" / "orthanc_stable_series.lua")
    archive = Orthanc(place / "archive", extra={"LuaScripts": [script], "StableAge": 1})
    environment = {"CTCYCLE": str(program), "CTCYCLE_OPTIONS": "--device cpu", "PYTHONPATH": str(ROOT)}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        with running(archive):
            post(archive, files)
            wait_for(lambda: sum(map(len, archive.denoised().values())) == len(files), 90, 0.5)
            found = came_back(archive)
    check_same(place, files, found)


def test_orthanc_gets_a_report_of_storage_commitment(place: Path) -> None:
    """Orthanc asks for what the node has, and for one object that it has not."""
    port = free_port()
    archive = Orthanc(place / "archive", {"ctcycle": ["CTCYCLE", "127.0.0.1", port]})
    callers = {"ORTHANC": {"addresses": ["127.0.0.1"], "port": archive.port}}
    node = NodeProcess(
        place, node_config(place, archive.port, port=port, callers=callers, completion={"quiet_seconds": 60.0})
    )
    files = make_series(place / "sent", 1)
    known = [[str(one.SOPClassUID), str(one.SOPInstanceUID)] for one in map(dcmread, files)]
    with running(archive, node):
        post(archive, files)
        archive.post("/modalities/ctcycle/store", archive.get("/series"))
        for wanted, answer in ((known, "Success"), ([*known, [known[0][0], "1.2.3"]], "Failure")):
            asked = archive.post("/modalities/ctcycle/storage-commitment", {"DicomInstances": wanted})
            wait_for(lambda asked=asked: archive.get(asked["Path"])["Status"] != "Pending", 30)
            report = archive.get(asked["Path"])
            assert report["Status"] == answer
            assert len(report["Success"]) == 3


def test_tls_between_real_peers(place: Path) -> None:
    """A storescu with our certificate is served, others are not; Orthanc gets the result over TLS."""
    own, strange = make_certificate(place / "tls", "hospital"), make_certificate(place / "tls", "stranger")
    secure = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(own.certificate),
        "DicomTlsPrivateKey": str(own.key),
        "DicomTlsTrustedCertificates": str(own.authority),
        "DicomTlsRemoteCertificateRequired": True,
    }
    modality = {"AET": "CTCYCLE", "Host": "127.0.0.1", "Port": free_port(), "UseDicomTls": True}
    archive = Orthanc(place / "archive", extra={**secure, "DicomModalities": {"ctcycle": modality}})
    callers = {
        "SCANNER": {"addresses": ["127.0.0.1"]},
        "ORTHANC": {"addresses": ["127.0.0.1"], "port": archive.port},
    }
    config = node_config(place, archive.port, port=modality["Port"], tls=own.settings(), callers=callers)
    config["destinations"]["archive"]["tls"] = own.settings()
    node = NodeProcess(place, json.loads(json.dumps(config)))
    files = make_series(place / "sent", 1)
    with running(archive, node):
        assert storescu(node.port, *files)
        assert storescu(node.port, *files, more=shown(strange.key, strange.certificate, own.authority))
        assert not storescu(node.port, *files, more=shown(own.key, own.certificate, own.authority))
        wait_for(lambda: settled(node), _PATIENCE_S)
        assert [len(one) for one in archive.denoised().values()] == [3]
        lacking = {"DicomInstances": [[str(CTImageStorage), "1.2.3"]]}
        asked = archive.post("/modalities/ctcycle/storage-commitment", lacking)
        wait_for(lambda: archive.get(asked["Path"])["Status"] == "Failure", 30)  # the report also came over TLS


def shown(key: Path, certificate: Path, authority: Path) -> list[str]:
    return ["+tls", str(key), str(certificate), "+cf", str(authority)]
