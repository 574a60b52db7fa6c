"""Until when a certificate is valid is read as OpenSSL reads it, and what is no certificate is told as such."""

from __future__ import annotations

import ssl
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import certificates
from gateway.certificates import WARN_BEFORE_S, Certificate, Validity, problem, read_file, read_validity
from gateway.cli import site_ca
from gateway.errors import ConfigError
from gateway.health.expiry import Expiry

if TYPE_CHECKING:
    from pathlib import Path

DAY_S = 86_400


def der_of(pem: bytes) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem.decode("ascii"))


@pytest.mark.parametrize("began_s", [0, 946_684_800, 2_524_607_999, 2_524_608_000, 4_102_444_800])
def test_a_period_of_validity_is_read_before_and_after_2050(began_s: int) -> None:
    made = site_ca.make_authority("x", began_s + DAY_S, 400)
    assert read_validity(der_of(made.certificate)) == Validity(began_s, began_s + 401 * DAY_S)


def test_it_is_read_as_openssl_reads_it(tmp_path: Path) -> None:
    authority = site_ca.make_authority("x", time.time())
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    known = context.get_ca_certs()[0]
    found = read_file(tmp_path / "ca.crt", "key")[0]
    assert ssl.cert_time_to_seconds(str(known["notBefore"])) == found.from_s
    assert ssl.cert_time_to_seconds(str(known["notAfter"])) == found.until_s


def test_every_certificate_of_a_file_is_read_whatever_stands_between(tmp_path: Path) -> None:
    path = tmp_path / "chain.pem"
    path.write_bytes(
        b"\xffsome text\n".join(site_ca.make_authority("x", time.time(), n).certificate for n in (5, 3, 9))
    )
    assert [round((each.until_s - each.from_s) / DAY_S) for each in read_file(path, "key")] == [6, 4, 10]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    first_to_end = certificates.load_authorities(context, path, "key")
    assert round((first_to_end.until_s - first_to_end.from_s) / DAY_S) == 4


@given(data=st.binary(max_size=200))
def test_what_is_no_certificate_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        read_validity(data)


WHOLE = der_of(site_ca.make_authority("x", 1_800_000_000).certificate)


@given(at=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255), end=st.integers(0, len(WHOLE)))
def test_a_spoilt_certificate_is_read_or_is_a_value_error(at: int, byte: int, end: int) -> None:
    spoilt = bytearray(WHOLE)
    spoilt[at] = byte
    try:
        found = read_validity(bytes(spoilt[:end]))
    except ValueError:
        return
    assert isinstance(found.until_s, float)


@pytest.mark.parametrize(
    ("now_s", "told"),
    [
        (999.0, "not valid before 1970-01-01T00:16:40Z; is the clock"),
        (1000.0, None),
        (10e6 - WARN_BEFORE_S - 1, None),
        (10e6 - WARN_BEFORE_S, "expires on 1970-04-26T17:46:40Z"),
        (10e6 - 1, "expires on"),
        (10e6, "expired on"),
    ],
)
def test_what_is_wrong_is_told_from_30_days_before_the_end(now_s: float, told: str | None) -> None:
    found = problem(Validity(1000, 10e6), now_s)
    assert found is None if told is None else str(found).startswith(told)


def test_days_left_are_whole_days_and_negative_once_it_is_over() -> None:
    certificate = Certificate("what", "where", Validity(0, 10 * DAY_S))
    assert [certificate.describe(now * DAY_S)["days_left"] for now in (0, 9.5, 10, 10.5)] == [10, 0, 0, -1]


def test_a_key_with_a_password_is_told_and_nobody_is_asked(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    made = site_ca.make_authority("x", time.time())
    locked = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (tmp_path / "x.crt").write_bytes(made.certificate)
    (tmp_path / "x.key").write_bytes(locked)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.raises(ConfigError, match=r"b: .* is protected by a password"):
        certificates.load_pair(context, tmp_path / "x.crt", tmp_path / "x.key", keys=("a", "b"))


class Clock:
    """Hands of a clock to turn."""

    boot_id = "boot"

    def __init__(self) -> None:
        self.wall_s, self.mono_s = 100.0 * DAY_S, 50.0

    def wall_ns(self) -> int:
        return int(self.wall_s * 1e9)

    def mono_ns(self) -> int:
        return int(self.mono_s * 1e9)


def test_what_expires_is_logged_once_a_day_also_when_the_wall_clock_is_stepped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    fine = Certificate("fine", "f", Validity(0, 1000 * DAY_S))
    in_use = [fine, Certificate("ends", "e", Validity(0, 110 * DAY_S))]
    expiry = Expiry(lambda: in_use, clock)

    def lines() -> list[str]:
        caplog.clear()
        expiry.look()
        return [f"{record.what} {record.problem}" for record in caplog.records]  # type: ignore[attr-defined]

    assert lines() == ["ends expires on 1970-04-21T00:00:00Z"]
    clock.mono_s += DAY_S - 1
    clock.wall_s += 5 * DAY_S
    assert lines() == []
    clock.mono_s += 1
    assert lines() == ["ends expires on 1970-04-21T00:00:00Z"]
    assert [each["problem"] is None for each in expiry.describe()] == [True, False]
