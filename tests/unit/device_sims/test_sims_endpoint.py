"""Broker addresses and credentials."""

import pytest

from device_sims.endpoint import Credentials, parse_endpoint, read_credentials
from device_sims.errors import UsageError


@pytest.mark.parametrize(
    ("url", "host", "port", "shown"),
    [
        ("mqtt://127.0.0.1", "127.0.0.1", 1883, "mqtt://127.0.0.1:1883"),
        ("mqtt://broker.example:2000/", "broker.example", 2000, "mqtt://broker.example:2000"),
        ("mqtt://[::1]:1884", "::1", 1884, "mqtt://[::1]:1884"),
    ],
)
def test_an_address_names_host_and_port(url, host, port, shown):
    endpoint = parse_endpoint(url)
    assert (endpoint.host, endpoint.port, str(endpoint), endpoint.tls) == (host, port, shown, None)


def test_mqtts_verifies_the_broker():
    endpoint = parse_endpoint("mqtts://broker.example")
    assert endpoint.port == 8883
    assert endpoint.tls is not None
    assert endpoint.tls.check_hostname


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:1883", "http://x", "mqtt://", "mqtt://x:port", "mqtt://x:99999", "mqtt://x/topic", "mqtt://[x"],
)
def test_what_is_no_address_is_refused_with_an_example(url):
    with pytest.raises(UsageError) as caught:
        parse_endpoint(url)
    assert "mqtt://127.0.0.1:1883" in caught.value.hint


def test_credentials_in_an_address_are_refused_and_not_repeated():
    with pytest.raises(UsageError) as caught:
        parse_endpoint("mqtt://me:secret@x")
    assert "secret" not in f"{caught.value}{caught.value.hint}"


def test_the_password_is_the_first_line_of_its_file(tmp_path):
    file = tmp_path / "password"
    file.write_text("s3cret \nsecond\n")
    assert read_credentials("me", file) == Credentials("me", "s3cret ")
    assert read_credentials(None, None) is None


@pytest.mark.parametrize("content", ["", "\n", None])
def test_a_password_file_without_a_password_is_refused(tmp_path, content):
    file = tmp_path / "password"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UsageError):
        read_credentials("me", file)


def test_username_and_password_file_belong_together(tmp_path):
    with pytest.raises(UsageError):
        read_credentials("me", None)
    with pytest.raises(UsageError):
        read_credentials(None, tmp_path / "password")
