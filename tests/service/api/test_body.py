"""Body limits and multipart forms."""

import socket
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import PATIENCE
from tests.service.fakes import FakeCodec, picture_array, png
from tests.service.server import metric, serving

LIMIT = 100_000  # of the shared client


def chunks(size: int) -> Iterator[bytes]:
    """A body without Content-Length: httpx sends iterators in chunks."""
    for start in range(0, size, 5000):
        yield bytes(min(5000, size - start))


def send_raw(client: httpx.Client, request: str) -> bytes:
    """The answer to a request that is sent as it stands, `Connection: close` added."""
    with socket.create_connection(
        (client.base_url.host, client.base_url.port or 80), timeout=PATIENCE
    ) as connection:
        connection.sendall(request.replace("\r\n", "\r\nConnection: close\r\n", 1).encode())
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_body_that_is_announced_too_large_is_refused_before_a_byte_of_it_arrives(
    client: httpx.Client,
) -> None:
    answer = send_raw(
        client, f"POST /compress HTTP/1.1\r\nHost: localhost\r\nContent-Length: {LIMIT + 1}\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 413")
    assert b'"urn:cwic:problem:body-too-large"' in answer


def test_expect_continue_gets_its_413_instead_of_a_go_ahead(client: httpx.Client) -> None:
    headers = f"Host: localhost\r\nExpect: 100-continue\r\nContent-Length: {LIMIT + 1}"
    assert send_raw(client, f"POST /compress HTTP/1.1\r\n{headers}\r\n\r\n").startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("path", ["/compress", "/decompress", "/importance-map", "/inspect"])
def test_a_chunked_body_is_refused_once_it_passes_the_limit(client: httpx.Client, path: str) -> None:
    answer = client.post(path, content=chunks(4 * LIMIT))
    assert answer.status_code == 413
    problem = answer.json()
    assert problem["limit"] == LIMIT
    assert LIMIT < problem["actual"] < 4 * LIMIT
    assert "CWIC_MAX_BODY_BYTES" in problem["detail"]


def test_a_multipart_body_is_counted_too(client: httpx.Client) -> None:
    assert client.post("/compress", files={"file": bytes(LIMIT)}).status_code == 413


def test_the_limit_itself_is_allowed(client: httpx.Client) -> None:
    assert client.post("/inspect", content=bytes(LIMIT)).status_code == 415
    assert client.post("/inspect", content=chunks(LIMIT)).status_code == 415
    assert client.post("/inspect", content=bytes(LIMIT + 1)).status_code == 413
    assert client.post("/inspect", content=chunks(LIMIT + 1)).status_code == 413


def test_bodies_that_were_refused_are_counted(client: httpx.Client) -> None:
    name = 'cwic_rejected_total{reason="body-too-large"}'
    before = metric(client, name)
    client.post("/compress", content=bytes(LIMIT + 1))
    assert metric(client, name) == before + 1


def test_a_chunked_picture_below_the_limit_is_read(client: httpx.Client) -> None:
    data = png()
    parts = iter([data[:10], data[10:50], data[50:]])
    assert client.post("/compress", content=parts).content == client.post("/compress", content=data).content


def test_a_large_upload_through_a_form_is_read_whole() -> None:
    array = picture_array(1200, 900)
    file = FakeCodec().encode(array) + b""
    padded = png(array) + bytes(2_000_000)  # above what stays in memory; bytes after a PNG's end do no harm
    with serving() as client:
        assert client.post("/compress", files={"file": padded}).content == file


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"--b\r\nbroken", "multipart/form-data; boundary=b"),
        (b"anything", "multipart/form-data"),
        (
            b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nno file\r\n--b--\r\n',
            "multipart/form-data; boundary=b",
        ),
        (
            b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nx\r\n--b--\r\n',
            "multipart/form-data; boundary=b",
        ),
    ],
)
def test_a_form_that_cannot_be_used_is_400(client: httpx.Client, body: bytes, content_type: str) -> None:
    answer = client.post("/compress", content=body, headers={"Content-Type": content_type})
    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:cwic:problem:bad-form"


def test_parameters_in_the_form_are_refused_and_not_ignored(client: httpx.Client) -> None:
    answer = client.post("/compress", files={"file": png()}, data={"quality": "10"})
    assert answer.status_code == 400
    assert "'quality'" in answer.json()["detail"]


def test_a_file_in_another_field_is_told_the_right_one(client: httpx.Client) -> None:
    answer = client.post("/compress", files={"image": png()})
    assert answer.json()["detail"] == "The form needs a file in the field `file`, not 'image'."


def test_text_in_the_field_is_told_from_a_missing_file(client: httpx.Client) -> None:
    answer = client.post("/compress", files={"file": (None, b"photo.png")})
    assert answer.json()["detail"] == "The field `file` has text instead of a file."


def test_an_empty_file_in_a_form_is_an_empty_body(client: httpx.Client) -> None:
    assert client.post("/compress", files={"file": b""}).json()["type"].endswith("empty-body")


@pytest.mark.parametrize("charset", ["punycode", "undefined", "idna", "utf-7", "no such thing"])
def test_a_charset_that_is_slow_or_unsound_is_refused(client: httpx.Client, charset: str) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n' + b"a" * 100_000 + b"\r\n--b--\r\n"
    headers = {"Content-Type": f'multipart/form-data; boundary=b; charset="{charset}"'}
    answer = client.post("/compress", content=body, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:cwic:problem:bad-form")
    assert "charset" in answer.json()["detail"]


def test_a_form_may_name_its_charset(client: httpx.Client) -> None:
    start = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b; charset=UTF-8"}
    answer = client.post("/compress", content=start + png() + b"\r\n--b--\r\n", headers=headers)
    assert answer.status_code == 200


@given(body=st.binary(max_size=200))
@settings(max_examples=30)
def test_no_form_makes_the_service_fail(client: httpx.Client, body: bytes) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert client.post("/compress", content=b"--b" + body, headers=headers).status_code in {400, 415, 422}


def test_a_body_that_arrives_too_slowly_is_408() -> None:
    with serving(request_timeout=2) as client:
        answer = send_raw(
            client, "POST /compress HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nfirst bytes"
        )
        assert answer.startswith(b"HTTP/1.1 408")
        assert metric(client, "cwic_queue_depth") == 0


def test_a_form_that_the_temporary_folder_cannot_take_is_507(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    with serving() as client:
        answer = client.post("/compress", files={"file": bytes(2 << 20)})
        assert (answer.status_code, answer.json()["type"]) == (507, "urn:cwic:problem:no-space")
        assert "TMPDIR" in answer.json()["detail"]
        assert client.post("/compress", files={"file": png()}).status_code == 200
