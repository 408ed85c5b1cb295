"""Files by path or URI: on disk, and in a bucket of an S3 server in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="needs the extra fleet")

from fleet_photos import do_job, photo_bytes, results
from human_edge_detection.core.errors import InputError
from human_edge_detection.fleet import places
from human_edge_detection.fleet.options import FleetOptions

pytestmark = pytest.mark.fleet


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    moto = pytest.importorskip("moto.server", reason="needs moto[server]")
    server = moto.ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    names = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, value in names.items():
            patch.setenv(name, value)
        boto3 = pytest.importorskip("boto3")
        boto3.client("s3").create_bucket(Bucket="photos")
        yield "s3://photos"
    places._file_system.cache_clear()
    server.stop()


@pytest.fixture(params=["disk", "bucket"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "disk":
        return str(tmp_path)
    return f"{request.getfixturevalue('bucket')}/{tmp_path.name}"


def test_files_are_written_listed_read_and_deleted(root: str) -> None:
    for name in ("b.jpg", "a.jpg", "sub/c.jpg", ".hidden"):
        places.write(places.below(root, name), name.encode())
    assert places.is_folder(root) and not places.is_folder(f"{root}/a.jpg")
    assert list(places.files_in(root)) == [f"{root}/a.jpg", f"{root}/b.jpg"]
    assert list(places.files_in(root, recursive=True))[-1] == f"{root}/sub/c.jpg"
    assert sorted(places.names_in(root)) == [".hidden", "a.jpg", "b.jpg"]
    assert places.names_in(f"{root}/none") == []
    assert places.read(f"{root}/a.jpg", 5) == b"a.jpg"
    with places.open_file(f"{root}/sub/c.jpg") as file:
        file.seek(4)
        assert file.read(1) == b"c"
    places.write(f"{root}/a.jpg", b"")
    assert places.exists(f"{root}/a.jpg") and places.read(f"{root}/a.jpg", 0) == b""
    places.remove(f"{root}/a.jpg")
    places.remove(f"{root}/a.jpg")
    assert not places.exists(f"{root}/a.jpg")


def test_what_is_not_there_or_too_large_is_named(root: str) -> None:
    places.write(f"{root}/large.jpg", b"12345")
    with pytest.raises(InputError, match="large.jpg has 5 bytes, more than the 4"):
        places.read(f"{root}/large.jpg", 4)
    for act in (places.is_folder, lambda place: places.read(place, 9), places.open_file):
        with pytest.raises(InputError, match="none.jpg does not exist: check the name"):
            act(f"{root}/none.jpg")


def test_unknown_file_systems_and_buckets_are_named(bucket: str) -> None:
    with pytest.raises(InputError, match="nowhere://"):
        places.is_folder("nowhere://a/b")
    with pytest.raises(InputError, match="s3://no-such-bucket"):
        list(places.files_in("s3://no-such-bucket/photos"))


def test_a_job_from_bucket_to_bucket(bucket: str) -> None:
    for number in range(3):
        places.write(f"{bucket}/day/{number}.jpg", photo_bytes(number))
    places.write(f"{bucket}/day/3.jpg", b"junk")
    options = FleetOptions((f"{bucket}/day",), f"{bucket}/masks", block=2)
    rows = do_job(options)
    assert [row["uri"] for row in rows] == [f"{bucket}/day/{number}.jpg" for number in range(4)]
    assert [row["error_kind"] for row in rows] == [None, None, None, "decode"]
    assert results(f"{bucket}/masks") == rows
    assert places.names_in(f"{bucket}/masks/started") == []
