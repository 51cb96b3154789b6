"""One shared run over every object store: a folder and S3 behave the same."""

import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline_lib.errors import ObjectExists, ObjectMissing, StoreError, SwapLost
from pipeline_lib.objects import LocalObjects, Objects, open_objects


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "file":
        return open_objects(f"file://{tmp_path}/store")
    request.getfixturevalue("aws")
    import boto3

    boto3.client("s3").create_bucket(Bucket="bank", CreateBucketConfiguration={"LocationConstraint": "ap-northeast-2"})
    return open_objects("s3://bank/prod")


def test_what_is_put_is_read_back(store: Objects) -> None:
    store.put("a/b.json", b"one")
    store.put("a/b.json", b"two")
    assert store.get("a/b.json") == b"two"


def test_a_missing_object_is_an_error_that_names_it(store: Objects) -> None:
    with pytest.raises(ObjectMissing, match="a/none"):
        store.get("a/none")
    with pytest.raises(ObjectMissing, match="a/none"):
        store.local_path("a/none")
    assert not store.exists("a/none")


def test_create_never_overwrites(store: Objects) -> None:
    store.create("k", b"first")
    with pytest.raises(ObjectExists):
        store.create("k", b"second")
    assert store.get("k") == b"first"


def test_create_again_with_the_same_bytes_is_a_success(store: Objects) -> None:
    store.create("k", b"same")
    store.create("k", b"same")


def test_swap_needs_the_tag_that_was_read(store: Objects) -> None:
    store.swap("p", b"1", None)
    _, tag = store.get_tagged("p")
    store.swap("p", b"2", tag)
    with pytest.raises(SwapLost):
        store.swap("p", b"3", tag)
    with pytest.raises(SwapLost):
        store.swap("p", b"3", None)
    assert store.get("p") == b"2"


def test_swap_of_a_key_that_is_gone_is_lost(store: Objects) -> None:
    store.put("p", b"1")
    _, tag = store.get_tagged("p")
    store.delete("p")
    with pytest.raises(SwapLost):
        store.swap("p", b"2", tag)


def test_one_of_many_creators_wins(store: Objects) -> None:
    won: list[int] = []

    def race(number: int) -> None:
        try:
            store.create("race", str(number).encode())
            won.append(number)
        except ObjectExists:
            pass

    threads = [threading.Thread(target=race, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [str(n).encode() for n in won] == [store.get("race")]


def test_list_is_sorted_and_stays_inside_the_folder(store: Objects) -> None:
    for key in ("x/b", "x/a", "xy/c"):
        store.put(key, b"")
    assert store.list("x") == ["x/a", "x/b"]
    assert store.list("nothing") == []


def test_a_file_moves_into_the_store(store: Objects, tmp_path: Path) -> None:
    with store.scratch() as folder:
        (folder / "t.bin").write_bytes(b"table")
        store.put_file("t/t.bin", folder / "t.bin")
        assert not (folder / "t.bin").exists()
    assert store.local_path("t/t.bin").read_bytes() == b"table"


def test_a_local_copy_follows_a_changed_object(store: Objects) -> None:
    store.put("t", b"one")
    store.local_path("t")
    store.put("t", b"two")
    assert store.local_path("t").read_bytes() == b"two"


def test_keys_cannot_leave_the_store(store: Objects) -> None:
    for key in ("../x", "a/../../x", ".tmp/x", ".locks/x"):
        with pytest.raises(StoreError):
            store.put(key, b"")


def test_a_crash_while_writing_leaves_the_old_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalObjects(tmp_path)
    store.put("k", b"old")

    def power_cut(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", power_cut)
    with pytest.raises(KeyboardInterrupt):
        store.put("k", b"new")
    assert store.get("k") == b"old"
    assert store.list("") == ["k"]


@pytest.mark.parametrize("url", ["/no/scheme", "file://relative", "s3://", "ftp://x/y"])
def test_an_address_that_is_no_store_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match="found"):
        open_objects(url)


@pytest.fixture
def closed_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Environment in which boto3 finds nobody listening, and asks once."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "ap-northeast-2",
        "AWS_RETRY_MODE": "standard",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    "use",
    [
        lambda store, file: store.get("k"),
        lambda store, file: store.exists("k"),
        lambda store, file: store.put("k", b"1"),
        lambda store, file: store.create("k", b"1"),
        lambda store, file: store.swap("k", b"1", "tag"),
        lambda store, file: store.list("k"),
        lambda store, file: store.delete("k"),
        lambda store, file: store.put_file("k", file),
        lambda store, file: store.local_path("k"),
    ],
    ids=["get", "exists", "put", "create", "swap", "list", "delete", "put_file", "local_path"],
)
@pytest.mark.usefixtures("closed_port")
def test_a_store_that_nobody_answers_for_is_a_store_error(
    use: Callable[[Objects, Path], object], tmp_path: Path
) -> None:
    file = tmp_path / "t.bin"
    file.write_bytes(b"table")
    with pytest.raises(StoreError, match="s3://bank/prod/k") as found:
        use(open_objects("s3://bank/prod"), file)
    assert type(found.value) is StoreError
    assert file.exists()


def test_an_upload_that_is_refused_is_a_store_error(aws: str, tmp_path: Path) -> None:
    (tmp_path / "t.bin").write_bytes(b"table")
    with pytest.raises(StoreError, match="NoSuchBucket"):
        open_objects("s3://nobody-made-it").put_file("k", tmp_path / "t.bin")


@pytest.mark.parametrize(
    ("name", "value"), [("AWS_ENDPOINT_URL", "not an address"), ("AWS_PROFILE", "nobody-wrote-it")]
)
@pytest.mark.usefixtures("closed_port")
def test_a_client_that_cannot_be_made_is_a_store_error(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(StoreError, match="s3://bank"):
        open_objects("s3://bank/prod")
