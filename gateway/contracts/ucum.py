"""Units as UCUM codes: is this one, and if not, what is meant?

Source: The Unified Code for Units of Measure, case-sensitive codes, sections 2 to 4 (ucum.org). Understood are its
grammar, its prefixes, and its units but those of clinical chemistry and of historical trades.
"""

from __future__ import annotations

import re
import unicodedata


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PREFIXES = _codes("""
    Y Z E P T G M k h da d c m u n p f a z y Ki Mi Gi Ti
""")
_METRIC = _codes("""
    m s g rad K C cd mol sr Hz N Pa J W A V F Ohm S Wb Cel T H lm lx Bq Gy Sv l L ar t bar u eV pc gf [c] [h] [k]
    [eps_0] [mu_0] [e] [m_e] [m_p] [G] [g] [ly] Ky Gal dyn erg P Bi St Mx G Oe Gb Lmb ph sb Ci R RAD REM cal_[15]
    cal_[20] cal_m cal_IT cal_th cal tex m[H2O] m[Hg] eq osm kat U [iU] [IU] g% st mho Np B B[SPL] B[V] B[mV] B[uV]
    B[10.nV] B[W] B[kW] bit By Bd
""")
_OTHERS = _codes("""
    10* 10^ [pi] % [ppth] [ppm] [ppb] [pptr] gon deg ' '' min h d wk mo mo_s mo_j mo_g a a_t a_j a_g AU atm att sph
    circ bit_s [degF] [degR] [degRe] [in_i] [ft_i] [yd_i] [mi_i] [fth_i] [nmi_i] [kn_i] [sin_i] [sft_i] [syd_i]
    [cin_i] [cft_i] [cyd_i] [bf_i] [cr_i] [mil_i] [cml_i] [hd_i] [in_us] [ft_us] [yd_us] [rd_us] [ch_us] [lk_us]
    [fth_us] [fur_us] [mi_us] [acr_us] [srd_us] [smi_us] [mil_us] [in_br] [ft_br] [yd_br] [mi_br] [nmi_br] [kn_br]
    [acr_br] [gal_us] [bbl_us] [qt_us] [pt_us] [gil_us] [foz_us] [fdr_us] [crd_us] [bu_us] [pk_us] [dqt_us] [dpt_us]
    [tbs_us] [tsp_us] [cup_us] [gal_wi] [gal_br] [pk_br] [bu_br] [qt_br] [pt_br] [gil_br] [foz_br] [gr] [lb_av]
    [oz_av] [dr_av] [scwt_av] [lcwt_av] [ston_av] [lton_av] [stone_av] [pwt_tr] [oz_tr] [lb_tr] [lbf_av] [psi]
    [slug] [Btu] [Btu_39] [Btu_59] [Btu_60] [Btu_m] [Btu_IT] [Btu_th] [HP] [den] [in_i'H2O] [in_i'Hg] [diop]
    [p'diop] %[slope] [mesh_i] [pH] [S] [MET] [arb'U] [m/s2/Hz^0.5] [car_m] [car_Au] [smoot]
""")
_CHARACTERS_MAX = 100
_PART = re.compile(r"10[*^]|(?:\[[^\]\s]*\]|[^\[\]{}()./+\-0-9\s])+|[+-]?[0-9]+|\{[!-z|~]*\}|[()./]|.", re.DOTALL)

_CHARACTERS = {
    "°C": "Cel", "°F": "[degF]", "°": "deg", "\N{GREEK SMALL LETTER MU}": "u", "\N{GREEK CAPITAL LETTER OMEGA}": "Ohm",
    "\N{MINUS SIGN}": "-", "·": ".", "⋅": ".", "*": ".", "^": "", " per ": "/", " ": "", "‰": "[ppth]",
}  # fmt: skip
"""After compatibility normalisation, which makes plain digits of raised ones and one sign of those that look alike."""
_NAMES = {
    "C°": "Cel", "°c": "Cel", "F°": "[degF]",
    "degC": "Cel", "celsius": "Cel", "Celsius": "Cel", "degF": "[degF]", "fahrenheit": "[degF]", "kelvin": "K",
    "percent": "%", "pct": "%", "%RH": "%{RH}", "RH": "%{RH}", "ppm": "[ppm]", "ppb": "[ppb]", "pH": "[pH]",
    "lux": "lx", "lumen": "lm", "dBm": "dB{mW}", "dBA": "dB[SPL]", "db": "dB", "ohm": "Ohm", "kohm": "kOhm",
    "Wh": "W.h", "kWh": "kW.h", "MWh": "MW.h", "Ah": "A.h", "mAh": "mA.h", "VA": "V.A", "kVA": "kV.A", "VAh": "V.A.h",
    "var": "V.A{reactive}", "VAr": "V.A{reactive}", "kvar": "kV.A{reactive}", "kvarh": "kV.A.h{reactive}",
    "volt": "V", "volts": "V", "amp": "A", "amps": "A", "ampere": "A", "watt": "W", "watts": "W", "hertz": "Hz",
    "psi": "[psi]", "mmHg": "mm[Hg]", "inHg": "[in_i'Hg]", "torr": "mm[Hg]", "mbar": "mbar", "bars": "bar",
    "mph": "[mi_i]/h", "kmh": "km/h", "kph": "km/h", "kn": "[kn_i]", "knots": "[kn_i]", "mps": "m/s",
    "rpm": "{rev}/min", "bpm": "{beat}/min", "cpm": "{count}/min", "rps": "{rev}/s",
    "sec": "s", "secs": "s", "second": "s", "seconds": "s", "mins": "min", "minute": "min", "minutes": "min",
    "hr": "h", "hrs": "h", "hour": "h", "hours": "h", "day": "d", "days": "d", "week": "wk", "year": "a", "years": "a",
    "in": "[in_i]", "inch": "[in_i]", "inches": "[in_i]", "ft": "[ft_i]", "feet": "[ft_i]", "mi": "[mi_i]",
    "mile": "[mi_i]", "miles": "[mi_i]", "gal": "[gal_us]", "lb": "[lb_av]", "lbs": "[lb_av]", "oz": "[oz_av]",
    "meter": "m", "metre": "m", "meters": "m", "liter": "L", "litre": "L", "liters": "L", "gram": "g", "kg": "kg",
    "byte": "By", "bytes": "By", "kb": "kBy", "KB": "kBy", "MB": "MBy", "GB": "GBy", "KiB": "KiBy", "MiB": "MiBy",
    "bits": "bit", "bps": "bit/s", "kbps": "kbit/s", "Mbps": "Mbit/s", "mcg": "ug", "cc": "cm3", "NTU": "{NTU}",
    "count": "{count}", "counts": "{count}", "pcs": "{count}", "none": "1", "ratio": "1", "g_n": "[g]", "gee": "[g]",
    "degree": "deg", "degrees": "deg", "radian": "rad", "kgf": "kgf", "hp": "[HP]", "btu": "[Btu]", "BTU": "[Btu]",
}  # fmt: skip
_MISTAKEN = {
    "C": "coulomb; degrees Celsius are 'Cel'",
    "F": "farad; degrees Fahrenheit are '[degF]'",
    "B": "bel; bytes are 'By'",
    "kB": "kilobel; kilobytes are 'kBy'",
    "G": "gauss; acceleration of free fall is '[g]'",
    "S": "siemens; seconds are 's'",
    "a": "year; ampere is 'A'",
    "P": "poise; pascal is 'Pa'",
}
"""Codes that are right, and mostly written for something else."""


def check(code: str) -> None:
    """Refuse what is no UCUM code.

    Raises:
        ValueError: says what to write instead, where that can be guessed.
    """
    if is_valid(code):
        return
    meant = suggestion(code)
    if meant is not None:
        raise ValueError(f"{code!r} is no UCUM code; write {meant!r}")
    raise ValueError(
        f"{code!r} is no UCUM code; write for example 'Cel', '%', 'hPa', 'kW.h', 'ug/m3', or '1' for a number without "
        "a unit; what is counted stands in braces, '{count}'"
    )


def doubt(code: str) -> str | None:
    """What a valid code means, if it is mostly meant for something else; None if there is no doubt."""
    return _MISTAKEN.get(code)


def is_valid(code: str) -> bool:
    """Whether it is a unit that is known, or made of such."""
    if len(code) > _CHARACTERS_MAX:
        return False
    parts = _PART.findall(code)
    if parts[:1] == ["/"]:
        parts.pop(0)
    parts.reverse()
    return _term(parts) and not parts


def suggestion(text: str) -> str | None:
    """The code that `text` seems to mean; None if that cannot be guessed."""
    text = unicodedata.normalize("NFKC", text)
    if text not in _NAMES:
        for written, code in _CHARACTERS.items():
            text = text.replace(written, code)
    pieces = re.split(r"([./])", text)
    code = "".join(_NAMES.get(piece, piece) for piece in pieces)
    return code if is_valid(code) else None


def _term(parts: list[str]) -> bool:
    """Take a term from the end of `parts`; whether there was one."""
    while True:
        if not _component(parts):
            return False
        if not parts or parts[-1] not in ("/", "."):
            return True
        parts.pop()


def _component(parts: list[str]) -> bool:
    if not parts:
        return False
    part = parts.pop()
    if part == "(":
        return _term(parts) and bool(parts) and parts.pop() == ")"
    if part.startswith("{"):
        return len(part) > 1
    if part.isdecimal():
        _annotation(parts)
        return True
    if not _is_unit(part):
        return False
    if parts and parts[-1].lstrip("+-").isdecimal():
        parts.pop()
    _annotation(parts)
    return True


def _annotation(parts: list[str]) -> None:
    if parts and parts[-1].startswith("{") and len(parts[-1]) > 1:
        parts.pop()


def _is_unit(part: str) -> bool:
    if part in _METRIC or part in _OTHERS:
        return True
    return any(part[:length] in _PREFIXES and part[length:] in _METRIC for length in (1, 2))
