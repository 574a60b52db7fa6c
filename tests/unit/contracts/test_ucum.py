"""UCUM codes are known, and what is none is told what to write."""

from __future__ import annotations

import pytest

from gateway.contracts import ucum


@pytest.mark.parametrize(
    "code",
    ["Cel", "%", "hPa", "kW.h", "W/m2", "m/s2", "ug/m3", "1", "{count}", "{rev}/min", "/min", "%{RH}", "dB", "uS/cm",
     "[degF]", "mm[Hg]", "[in_i'Hg]", "10*3/uL", "mol/(L.s)", "kg.m-1.s-2", "[ppm]", "lx", "KiBy", "dam", "deg",
     "L/min", "V.A", "J/(kg.K)", "m+2", "2.[pi].rad", "Ohm", "kOhm", "mo_j", "B[10.nV]", "[m/s2/Hz^0.5]"],
)  # fmt: skip
def test_codes_are_known(code: str) -> None:
    ucum.check(code)


@pytest.mark.parametrize(
    ("text", "code"),
    [("°C", "Cel"), ("C°", "Cel"), ("℃", "Cel"), ("celsius", "Cel"),
     ("°F", "[degF]"), ("µg/m³", "ug/m3"), ("μS/cm", "uS/cm"),
     ("kWh", "kW.h"), ("W/m²", "W/m2"), ("lux", "lx"), ("ppm", "[ppm]"), ("mmHg", "mm[Hg]"), ("rpm", "{rev}/min"),
     ("Ω", "Ohm"), ("kΩ", "kOhm"), ("°", "deg"), ("°/s", "deg/s"), ("m^2", "m2"), ("liters/minute", "L/min"),
     ("m³/h", "m3/h"), ("%RH", "%{RH}"), ("VA", "V.A"), ("sec", "s"), ("m / s", "m/s"), ("psi", "[psi]")],
)  # fmt: skip
def test_what_is_meant_is_told(text: str, code: str) -> None:
    with pytest.raises(ValueError, match="is no UCUM code; write") as wrong:
        ucum.check(text)
    assert str(wrong.value).endswith(f"write {code!r}")


@pytest.mark.parametrize(
    "text", ["", "furlongs per fortnight", "Cel Cel", "(m", "m)", "m//s", "m.", "{", "}", "kdeg", "(" * 99]
)
def test_what_cannot_be_guessed_is_told_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="write for example 'Cel'"):
        ucum.check(text)
    assert not ucum.is_valid("(" * 5000)


def test_codes_that_are_mostly_meant_for_something_else_are_told() -> None:
    assert ucum.is_valid("C")
    assert ucum.doubt("C") == "coulomb; degrees Celsius are 'Cel'"
    assert ucum.doubt("Cel") is None
    assert all(ucum.is_valid(code) for code in ucum._MISTAKEN)
