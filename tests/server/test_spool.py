"""The spool: own names, nothing outside a job's folder, nothing left behind."""

from pathlib import Path

import pytest

from server.job_types import new_job_id
from server.spool import Spool, SpoolTaken


def test_folders_come_and_go(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a" / "b")
    job_id = new_job_id()
    folder = spool.create(job_id)
    (folder / "input").write_bytes(b"1234")
    assert spool.job_ids() == [job_id]
    assert spool.used_bytes() == 4
    assert spool.free_bytes() > 0
    spool.delete(job_id)
    spool.delete(job_id)
    assert not folder.exists()
    assert spool.used_bytes() == 0


def test_orphans_go_and_what_is_known_stays(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    kept, orphan = new_job_id(), new_job_id()
    for job_id in (kept, orphan):
        spool.create(job_id)
    (tmp_path / ".gone.x").mkdir()
    (tmp_path / "jobs.sqlite3").touch()
    assert spool.delete_all_but([kept]) == [orphan]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([kept, "jobs.sqlite3"])


@pytest.mark.parametrize("bad", ["", "..", "job_", "job_../../etc", "job_" + "g" * 24, "x" * 28])
def test_only_our_ids_are_folders(tmp_path: Path, bad: str) -> None:
    with pytest.raises(ValueError, match="job id"):
        Spool(tmp_path).folder(bad)


@pytest.mark.parametrize("bad", ["../x", "/etc/passwd", "..", ".", "", "a/b/c", "thumbs/../../x"])
def test_only_names_inside_the_folder_are_files(tmp_path: Path, bad: str) -> None:
    with pytest.raises(ValueError, match="file name"):
        Spool(tmp_path).output_path(new_job_id(), bad)
    with pytest.raises(ValueError, match="one of"):
        Spool(tmp_path).input_path(new_job_id(), bad)


def test_one_server_for_one_folder(tmp_path: Path) -> None:
    with Spool(tmp_path).locked(), pytest.raises(SpoolTaken), Spool(tmp_path).locked():
        pass
    with Spool(tmp_path).locked():
        pass
