"""The doctor: each finding follows from its facts, a finding that is not ok names a remedy, nothing is changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from caligo import doctor
from caligo.cli import main
from caligo.doctor import Finding, Status
from caligo.errors import ExitCode, NativeUnavailableError

GIB = 1 << 30

MOUNTS = r"""
22 1 259:1 / / rw,relatime - ext4 /dev/root rw
30 22 0:50 / /scratch rw shared:5 - lustre 10.0.0.1@tcp:/fs rw
31 22 0:51 / /home rw - nfs4 server:/home rw,vers=4.2
32 31 0:52 / /home/a\040b rw - xfs /dev/sdb rw
33 22 0:53 / /home rw - nfs4 server:/other rw
not a mount line
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/scratch/x/y", "lustre"), ("/home/user", "nfs4"), ("/home/a b/x", "xfs"), ("/homework", "ext4"), ("/", "ext4")],
)
def test_a_path_lies_on_the_deepest_mount_above_it(path: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_existing", lambda path: path)
    system = doctor.file_system_of(Path(path), MOUNTS)
    assert system is not None
    assert system.kind == kind
    assert system.is_shared == (kind in ("lustre", "nfs4"))


def test_the_kernel_tells_the_file_system_of_a_path_that_does_not_exist_yet(tmp_path: Path) -> None:
    assert doctor.file_system_of(tmp_path / "a" / "b") == doctor.file_system_of(tmp_path)


def _mounted(path: Path, kind: str) -> str:
    return f"40 1 0:60 / {path} rw - {kind} source rw\n"


def test_a_store_on_a_network_file_system_is_warned_about_with_a_remedy(tmp_path: Path) -> None:
    finding = doctor.check_store(tmp_path / "store", _mounted(tmp_path, "lustre"))
    assert finding.status is Status.WARN
    assert finding.remedy is not None
    assert "local disk" in finding.remedy
    assert doctor.check_store(tmp_path / "store", _mounted(tmp_path, "tmpfs")).status is Status.WARN
    assert doctor.check_store(tmp_path / "store", _mounted(tmp_path, "ext4")).status is Status.OK
    assert not (tmp_path / "store").exists()


def test_a_store_that_cannot_be_made_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    assert doctor.check_store(tmp_path / "file" / "store").status is Status.FAIL
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    finding = doctor.check_store(tmp_path / "store")
    assert finding.status is Status.FAIL
    assert "CALIGO_STORE" in str(finding.remedy)


def test_an_engine_that_the_processor_could_run_but_the_build_cannot_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "chosen_engine", lambda: "avx2")
    flags = doctor.processor_flags("processor : 0\nflags\t\t: fpu avx2 avx512f avx512bw avx512vl\n")
    assert doctor.check_processor(flags, (["avx2", "portable"], ["avx2"])).status is Status.WARN
    assert doctor.check_processor(frozenset({"avx2"}), (["avx2", "portable"], ["avx2"])).status is Status.OK
    monkeypatch.setattr(doctor, "chosen_engine", lambda: "portable")
    assert doctor.check_processor(frozenset(), (["portable"], [])).status is Status.WARN


def test_a_missing_extension_is_a_failure_with_the_build_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from caligo import _native

    def absent() -> dict[str, str]:
        raise NativeUnavailableError("cannot be imported")

    monkeypatch.setitem(vars(_native), "build_info", absent)
    finding = doctor.check_extension()
    assert finding.status is Status.FAIL
    assert "make setup" in str(finding.remedy)
    monkeypatch.setitem(vars(_native), "build_info", lambda: {"version": "0.0.0"})
    assert doctor.check_extension().status is Status.FAIL
    monkeypatch.setitem(vars(_native), "build_info", lambda: {"profile": "debug"})
    assert doctor.check_extension().status is Status.WARN


def test_a_processor_quota_below_the_visible_cores_is_reported(tmp_path: Path) -> None:
    group = tmp_path / "job" / "step"
    group.mkdir(parents=True)
    (tmp_path / "job" / "cpu.max").write_text("150000 100000\n")
    (group / "cpu.max").write_text("max 100000\n")
    assert doctor.processor_quota(tmp_path, "0::/job/step\n") == 1.5
    assert doctor.processor_quota(tmp_path, "") is None
    finding = doctor.check_cores(8, 1.5)
    assert finding.status is Status.WARN
    assert "--threads 1" in str(finding.remedy)
    assert doctor.check_cores(8, None).status is Status.OK


@pytest.mark.parametrize(
    ("library", "launcher", "version", "status"),
    [
        ("4.1.0\nMPICH Version: 4.2.3", "/usr/bin/mpiexec", "HYDRA build details:", Status.OK),
        ("4.1.0\nMPICH Version: 4.2.3", "/usr/bin/mpiexec", "mpiexec (OpenRTE) 4.1.4", Status.WARN),
        ("4.1.0\nOpen MPI v5.0.3", "/usr/bin/mpiexec", "HYDRA build details:", Status.WARN),
        ("4.1.0\nMPICH Version: 4.2.3", "/opt/mpiexec", "Intel(R) MPI Library for Linux", Status.OK),
        ("4.1.0\nMPICH Version: 4.2.3", None, None, Status.WARN),
        ("4.1.0\nsomething", "/usr/bin/mpiexec", None, Status.OK),
        (None, "/usr/bin/mpiexec", None, Status.WARN),
    ],
)
def test_a_launcher_of_another_mpi_than_the_library_is_reported(
    library: str | None, launcher: str | None, version: str | None, status: Status
) -> None:
    finding = doctor.judge_mpi(library, launcher, version)
    assert finding.status is status
    assert (finding.remedy is None) == (status is Status.OK)


def test_memory_and_space_are_judged_by_need() -> None:
    assert doctor.judge_memory(64 * GIB, "cgroup", 8, 43 << 20).status is Status.OK
    short = doctor.judge_memory(GIB // 2, "cgroup", 8, 43 << 20)
    assert short.status is Status.WARN
    assert "--threads 5" in str(short.remedy)
    assert doctor.judge_space(10 * GIB, 20 * GIB).status is Status.OK
    assert doctor.judge_space(GIB // 2, 20 * GIB).status is Status.WARN
    assert doctor.judge_space(0, 20 * GIB).status is Status.FAIL


def test_a_misspelt_variable_is_reported() -> None:
    assert doctor.check_environment({"CALIGO_STOER": "/x", "HOME": "/"}).status is Status.WARN
    assert doctor.check_environment({"CALIGO_STORE": "/x", "HOME": "/"}).status is Status.OK


def test_every_finding_that_is_not_ok_names_a_remedy_and_nothing_is_changed(tmp_path: Path) -> None:
    findings = doctor.diagnose(tmp_path / "store")
    assert len({finding.topic for finding in findings}) == len(findings) == 10
    assert all(finding.remedy for finding in findings if finding.status is not Status.OK)
    assert not list(tmp_path.iterdir())


def test_the_doctor_loads_no_mpi_into_its_own_process(tmp_path: Path) -> None:
    code = f"import sys; from caligo.cli import main; main(['doctor', '--store', {str(tmp_path)!r}]);"
    code += "sys.exit('mpi4py' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120, check=False).returncode == 0


def test_the_exit_code_is_that_of_a_missing_resource_only_when_something_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def findings(status: Status) -> list[Finding]:
        return [Finding("a", Status.OK, "fine"), Finding("b", status, "worse", "do c", {"n": 1})]

    for status, code in ((Status.OK, 0), (Status.WARN, 0), (Status.FAIL, ExitCode.RESOURCE)):
        monkeypatch.setattr(doctor, "diagnose", lambda store, status=status: findings(status))
        assert main(["doctor", "--store", str(tmp_path)]) == code
        out = capsys.readouterr().out
        assert "-> do c" in out
        assert main(["doctor", "--store", str(tmp_path), "--json"]) == code
        document = json.loads(capsys.readouterr().out)
        assert document["schema"] == "caligo.doctor/1"
        assert document["status"] == status.value
        assert document["findings"][1] == {
            "topic": "b",
            "status": status.value,
            "what": "worse",
            "remedy": "do c",
            "facts": {"n": 1},
        }
