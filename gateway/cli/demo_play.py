"""What `gateway demo` does: an outage and a power cut, watched as they happen, and the verdict."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from device_sims.errors import LedgerMissing
from device_sims.ledger import Ledger, Totals
from device_sims.verdict import identify, judge
from gateway.cli.demo_site import Site
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from device_sims.verdict import DeviceVerdict

_DRAIN_TIMEOUT_S = 30.0
_FLEET_END_TIMEOUT_S = 20.0
_LOOK_INTERVAL_S = 0.25

# When what happens, as shares of the time the devices publish.
_CUT_AT, _KILL_AT, _RESTORE_AT = 0.25, 0.45, 0.7


def play(folder: Path, fleet: str, duration_s: float, *, silent: bool) -> dict[str, Any]:
    """Run every phase in `folder` and count what arrived; `silent` shows nothing meanwhile."""
    console = Console(stderr=True, quiet=silent)
    with Site(folder, fleet) as site:
        view = View(site, duration_s)
        live = Live(view.table(), console=console, refresh_per_second=4, transient=True)
        with live if console.is_terminal and not silent else nullcontext():

            def enter(phase: str) -> None:
                view.phase = phase
                console.print(f"[bold]{view.elapsed_s():5.1f} s[/bold]  {phase}", highlight=False)

            def watch_until(reached: Callable[[], bool], timeout_s: float, otherwise: str) -> None:
                deadline = time.monotonic() + timeout_s
                while not reached():
                    if time.monotonic() > deadline:
                        raise GatewayError(otherwise, "Run it again with --keep FOLDER and look at the logs there.")
                    live.update(view.table())
                    time.sleep(_LOOK_INTERVAL_S)

            _run_phases(site, view, duration_s, enter, watch_until)
        site.edge.stop()
        site.upstream.stop()
        return _judge(site, view)


def _run_phases(
    site: Site,
    view: View,
    duration_s: float,
    enter: Callable[[str], None],
    watch_until: Callable[[Callable[[], bool], float, str], None],
) -> None:
    def wait_for(share: float) -> None:
        watch_until(
            lambda: site.fleet.ended() or view.elapsed_s() >= share * duration_s, duration_s, "the clock stands still"
        )

    site.upstream.start()
    site.edge.start()
    site.fleet.start(site.edge.port, duration_s)
    view.started_s = time.monotonic()
    enter("devices publish, the upstream takes everything")
    wait_for(_CUT_AT)
    site.upstream.kill()
    enter("the upstream is cut: the gateway stores and acknowledges")
    wait_for(_KILL_AT)
    site.edge.kill()
    enter("the gateway was killed (SIGKILL) in mid-outage, and starts again")
    site.edge.start()
    wait_for(_RESTORE_AT)
    site.upstream.start()
    enter("the upstream is back: the backlog drains while devices go on")
    watch_until(site.fleet.ended, duration_s + _FLEET_END_TIMEOUT_S, "the simulated fleet did not end in time")
    enter("the devices have finished: the rest drains")
    watch_until(view.is_drained, _DRAIN_TIMEOUT_S, "the backlog did not drain in time")


@dataclass
class View:
    """What is going on, as a table."""

    site: Site
    duration_s: float
    phase: str = "starting"
    started_s: float = 0.0
    longest_backlog: int = 0
    _last: tuple[float, int] = (0.0, 0)
    _rate: float = 0.0

    def elapsed_s(self) -> float:
        """Seconds since the devices began."""
        return time.monotonic() - self.started_s if self.started_s else 0.0

    def is_drained(self) -> bool:
        """Whether the upstream has everything the gateway has stored."""
        status = self.site.edge.status()
        return status is not None and _upstream(status)["pending"] == 0 and status["log"]["pending_events"] == 0

    def totals(self) -> Totals:
        """What the devices have sent and what was acknowledged to them."""
        try:
            with Ledger.open_readonly(self.site.fleet.ledger) as ledger:
                return ledger.totals()
        except LedgerMissing:
            return Totals(0, 0, 0)

    def table(self) -> Table:
        """One look at all three processes."""
        status, totals = self.site.edge.status(), self.totals()
        now_s = self.elapsed_s()
        if now_s - self._last[0] >= 1:
            self._rate = (totals.acknowledged - self._last[1]) / (now_s - self._last[0])
            self._last = (now_s, totals.acknowledged)
        done = min(1.0, now_s / self.duration_s)
        table = Table(show_header=False, title=self.phase, title_justify="left", min_width=64)
        table.add_row("progress", f"{'█' * int(40 * done)}{'·' * (40 - int(40 * done))} {now_s:.0f} s")
        table.add_row(
            "devices", f"{totals.devices} devices, {totals.sent:,} sent, {totals.acknowledged:,} acknowledged"
        )
        table.add_row("rate", f"{self._rate:,.0f} acknowledged a second")
        if status is None:
            table.add_row("gateway", "[red]not running[/red]")
            return table
        upstream = _upstream(status)
        self.longest_backlog = max(self.longest_backlog, upstream["pending"])
        colour = "green" if upstream["state"] == "connected" else "red"
        table.add_row("stored", f"{status['log']['head']:,} events, {status['log']['size_bytes'] / 1e6:.1f} MB")
        table.add_row("pending", f"{upstream['pending']:,} events not yet at the upstream")
        table.add_row("upstream", f"[{colour}]{upstream['state']}[/{colour}] {upstream['reason']}")
        return table


def _upstream(status: dict[str, Any]) -> dict[str, Any]:
    first: dict[str, Any] = status["upstreams"][0]
    return first


def _judge(site: Site, view: View) -> dict[str, Any]:
    def delivered() -> Iterator[tuple[str, int]]:
        for event in site.upstream.history():
            known = identify(event.payload)
            if known is not None:
                yield known

    with Ledger.open_readonly(site.fleet.ledger) as ledger:
        totals = ledger.totals()
        verdict = judge(ledger.acknowledged(), delivered())
    total: DeviceVerdict = verdict.total
    return {
        "ok": verdict.ok and totals.acknowledged > 0,
        "devices": totals.devices,
        "sent": totals.sent,
        "acknowledged": totals.acknowledged,
        "received_upstream": total.received,
        "lost": total.lost,
        "duplicates": total.duplicates,
        "out_of_order": total.out_of_order,
        "longest_backlog": view.longest_backlog,
        "seconds": round(view.elapsed_s(), 1),
    }


def show_verdict(verdict: dict[str, Any]) -> None:
    """Print the counts of `play` as a table."""
    console = Console()
    table = Table("", "events", title="verdict", title_justify="left")
    rows = {
        "sent by the devices": "sent",
        "acknowledged to them": "acknowledged",
        "received upstream": "received_upstream",
        "lost": "lost",
        "duplicates (allowed: same event again)": "duplicates",
        "out of order": "out_of_order",
    }
    for label, key in rows.items():
        table.add_row(label, f"{verdict[key]:,}")
    console.print(table)
    if verdict["ok"]:
        console.print("[green]Nothing acknowledged was lost, and every device's order was kept.[/green]")
    elif verdict["acknowledged"] == 0:
        console.print("[red]No event was acknowledged: nothing was shown.[/red]")
    else:
        console.print("[red]The promise was broken: see lost and out of order.[/red]")
