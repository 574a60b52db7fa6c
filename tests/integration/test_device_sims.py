"""The simulator against a real broker: cut off, starved and restarted, it neither loses nor disorders anything."""

import asyncio
import contextlib
import json
import random
import shutil
import signal
import socket
import sys

import pytest

from device_sims.clock import Clock
from device_sims.endpoint import parse_endpoint
from device_sims.fleet import Fleet
from device_sims.fleet_run import Limits, Stopping, run_fleet
from device_sims.ledger import Ledger, LedgerWriter
from device_sims.progress import Progress
from device_sims.subscription import Subscription
from device_sims.verdict import Tally, identify
from device_sims.verification import Ended, Patience, Verification

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin")

pytestmark = [
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed"),
    pytest.mark.timeout(30),
]

SEED = 42


async def until(condition, what):
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.01)
    assert condition(), what


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Mosquitto:
    """A broker that can be killed and started again on its port."""

    def __init__(self, folder, *lines):
        self.port = free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self._config = folder / f"mosquitto-{self.port}.conf"
        self._config.write_text("\n".join([f"listener {self.port} 127.0.0.1", "max_queued_messages 0", *lines]))
        self._process = None

    async def start(self):
        self._process = await asyncio.create_subprocess_exec(
            MOSQUITTO, "-c", self._config, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    await writer.wait_closed()
                    return
                await asyncio.sleep(0.01)

    async def kill(self):
        if self._process is not None:
            self._process.kill()
            await self._process.wait()
            self._process = None


class Proxy:
    """Stands between clients and the broker; cuts connections, or lets nothing through for a while."""

    def __init__(self, target_port):
        self._target_port = target_port
        self._writers = set()
        self._open = asyncio.Event()
        self._open.set()
        self._server = None
        self._tasks = set()
        self.port = 0

    async def start(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"mqtt://127.0.0.1:{self.port}"

    def cut(self):
        for writer in list(self._writers):
            writer.transport.abort()

    def hold(self):
        self._open.clear()

    def release(self):
        self._open.set()

    async def close(self):
        self.release()
        self._server.close()
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)

    async def _serve(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._writers |= {writer, there_writer}
        try:
            await asyncio.gather(self._pump(reader, there_writer), self._pump(there_reader, writer))
        finally:
            self._writers -= {writer, there_writer}
            self._tasks.discard(task)

    async def _pump(self, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(4096):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@pytest.fixture(autouse=True)
async def loop_errors():
    """Errors that no task could raise, such as those in callbacks of the client library."""
    errors = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    yield
    assert errors == []


@pytest.fixture
async def broker(tmp_path):
    mosquitto = Mosquitto(tmp_path, "allow_anonymous true")
    await mosquitto.start()
    yield mosquitto
    await mosquitto.kill()


@pytest.fixture
async def proxy(broker):
    proxy = Proxy(broker.port)
    await proxy.start()
    yield proxy
    await proxy.close()


def fleet_of(count=10, **group):
    settings = {"name": "d", "count": count, "profile": "climate", "rate_hz": 20.0, "jitter": 0.5} | group
    return Fleet.model_validate({"fleet": {"name": "test", "seed": SEED}, "groups": [settings]})


class Run:
    """A fleet running in a task of its own."""

    def __init__(self, fleet, url, path, settle_s=10.0):
        self.progress = Progress()
        self.stopping = Stopping()
        self._writer = LedgerWriter.create(path, fleet="test", seed=SEED, started_ns=1)
        self._task = asyncio.create_task(
            run_fleet(
                fleet,
                parse_endpoint(url),
                self._writer,
                Limits(settle_s=settle_s),
                self.stopping,
                clock=Clock(),
                report=self._report,
            )
        )

    def _report(self, progress, _):
        self.progress = progress

    async def acknowledged(self, more):
        goal = self.progress.acknowledged + more
        await until(lambda: self.progress.acknowledged >= goal, f"{more} more acknowledged")

    async def finish(self):
        self.stopping.request()
        outcome = await self._task
        self._writer.close()
        return outcome.progress


class Verifying:
    """A verification in a task of its own."""

    def __init__(self, url, path, **patience):
        self.said = []
        self.tally = Tally()
        self.interrupted = asyncio.Event()
        self.subscription = Subscription(
            parse_endpoint(url), "verify", "devices/#", self._take, self.said.append, random.Random(SEED)
        )
        verification = Verification(
            path,
            self.tally,
            self.subscription,
            Patience(**({"idle_s": 5.0, "timeout_s": 20.0} | patience)),
            Clock(),
            lambda: None,
            is_recorded=False,
        )
        self.task = asyncio.create_task(verification.run(self.interrupted))

    def _take(self, payload):
        self.tally.deliver(*identify(payload))

    async def subscribed(self):
        await until(lambda: "subscribed" in self.said, "subscribed")


async def test_devices_whose_connections_are_cut_lose_and_disorder_nothing(broker, proxy, tmp_path):
    path = tmp_path / "ledger.db"
    verifying = Verifying(broker.url, path)
    await verifying.subscribed()
    run = Run(fleet_of(15), proxy.url, path)
    for _ in range(4):
        await run.acknowledged(150)
        proxy.cut()
    await run.acknowledged(150)
    progress = await run.finish()
    finding = await verifying.task
    assert finding.ended is Ended.COMPLETE
    assert finding.verdict.ok
    assert finding.verdict.total.acknowledged == progress.acknowledged == progress.sent == progress.generated
    assert progress.reconnects >= 4
    assert progress.outstanding == progress.connected == 0
    with Ledger.open_readonly(path) as ledger:
        assert ledger.finished()
        assert ledger.totals().sent == progress.sent


async def test_acknowledgements_that_are_held_back_bring_duplicates_and_no_loss(broker, proxy, tmp_path):
    path = tmp_path / "ledger.db"
    verifying = Verifying(broker.url, path)
    await verifying.subscribed()
    run = Run(fleet_of(5, qos=2, inflight_max=4), proxy.url, path)
    for _ in range(2):
        await run.acknowledged(50)
        proxy.hold()
        await until(lambda: run.progress.outstanding >= 20, "windows are full")
        proxy.cut()
        proxy.release()
    await run.acknowledged(50)
    progress = await run.finish()
    finding = await verifying.task
    assert finding.verdict.ok
    assert progress.resent > 0
    assert finding.verdict.total.lost == 0


async def test_a_subscriber_that_is_cut_off_misses_nothing(broker, proxy, tmp_path):
    path = tmp_path / "ledger.db"
    verifying = Verifying(proxy.url, path)
    await verifying.subscribed()
    run = Run(fleet_of(10), broker.url, path)
    for _ in range(3):
        await run.acknowledged(100)
        proxy.cut()
    await run.acknowledged(100)
    await run.finish()
    finding = await verifying.task
    assert finding.ended is Ended.COMPLETE
    assert finding.verdict.ok
    assert verifying.subscription.subscribed > 1
    assert "subscribed again" in verifying.said


async def test_devices_come_back_to_a_broker_that_was_killed(broker, tmp_path):
    run = Run(fleet_of(10), broker.url, tmp_path / "ledger.db")
    await run.acknowledged(100)
    await broker.kill()
    await until(lambda: run.progress.connected == 0, "all devices notice")
    await broker.start()
    await until(lambda: run.progress.connected == 10, "all devices are back")
    await run.acknowledged(100)
    progress = await run.finish()
    assert progress.reconnects >= 10
    assert progress.acknowledged == progress.generated


async def test_devices_wait_for_a_broker_that_starts_late(tmp_path):
    broker = Mosquitto(tmp_path, "allow_anonymous true")
    run = Run(fleet_of(3), broker.url, tmp_path / "ledger.db")
    await until(lambda: run.progress.last_trouble != "", "the trouble is told")
    assert "Connection refused" in run.progress.last_trouble
    await broker.start()
    await run.acknowledged(30)
    progress = await run.finish()
    await broker.kill()
    assert progress.acknowledged == progress.generated


async def test_a_device_in_front_of_a_stuck_broker_holds_no_more_than_its_buffer(broker, proxy, tmp_path):
    run = Run(fleet_of(4, rate_hz=200.0, buffer_events_max=20), proxy.url, tmp_path / "ledger.db")
    await run.acknowledged(100)
    proxy.hold()
    await until(lambda: run.progress.skipped > 100, "events are skipped")
    assert run.progress.outstanding == 4 * 20
    proxy.release()
    await run.acknowledged(100)
    progress = await run.finish()
    assert progress.acknowledged == progress.generated


async def test_a_run_that_cannot_settle_ends_with_its_open_events_counted(broker, proxy, tmp_path):
    path = tmp_path / "ledger.db"
    run = Run(fleet_of(2), proxy.url, path, settle_s=0.2)
    await run.acknowledged(20)
    proxy.hold()
    await until(lambda: run.progress.outstanding > 5, "events are waiting")
    progress = await run.finish()
    assert progress.outstanding > 0
    with Ledger.open_readonly(path) as ledger:
        assert ledger.finished()
        assert ledger.totals().acknowledged == progress.acknowledged


async def test_at_qos_0_nothing_counts_as_acknowledged(broker, tmp_path):
    path = tmp_path / "ledger.db"
    run = Run(fleet_of(3, qos=0), broker.url, path)
    await until(lambda: run.progress.sent > 50, "events are sent")
    progress = await run.finish()
    assert progress.acknowledged == 0
    with Ledger.open_readonly(path) as ledger:
        assert ledger.totals().sent == progress.sent == progress.generated
        assert list(ledger.acknowledged()) == []


async def test_a_loss_is_found_and_ends_by_idleness(broker, tmp_path):
    path = tmp_path / "ledger.db"
    verifying = Verifying(broker.url, path, idle_s=0.5)
    await verifying.subscribed()
    run = Run(fleet_of(2), broker.url, path)
    await run.acknowledged(20)
    run._writer.acknowledged("d-0001", 999_999, "devices/d-0001/climate", 1)
    await run.finish()
    finding = await verifying.task
    assert finding.ended is Ended.IDLE
    assert finding.is_final
    assert [device.lost_examples for device in finding.verdict.devices if device.lost] == [(999_999,)]


async def simulate(*arguments):
    command = [sys.executable, "-W", "error", "-c", "from device_sims.cli import main; main()", *map(str, arguments)]
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)


async def test_run_and_verify_work_together_as_commands(broker, tmp_path):
    where = ["--url", broker.url, "--ledger", tmp_path / "ledger.db", "--json"]
    record = tmp_path / "record"
    verify = await simulate("verify", *where, "--record", record, "--timeout", 20)
    assert await verify.stderr.readline() == b"subscribed\n"
    run = await simulate("run", "greenhouse", *where, "--rate", 20, "--qos", 1)
    await until(lambda: record.exists() and record.stat().st_size > 1000, "deliveries arrive")
    run.send_signal(signal.SIGINT)
    summary = json.loads((await run.communicate())[0])
    assert run.returncode == 0
    verdict = json.loads((await verify.communicate())[0])
    assert verify.returncode == 0
    assert verdict["ok"]
    assert verdict["total"]["acknowledged"] == summary["acknowledged"] > 0

    again = await simulate("verify", *where, "--record", record, "--all")
    output, _ = await again.communicate()
    assert again.returncode == 0
    assert json.loads(output)["total"]["received"] >= summary["acknowledged"]

    alone = await simulate("verify", *where, "--idle", 0.5)
    output, _ = await alone.communicate()
    assert alone.returncode == 1
    assert json.loads(output)["total"]["lost"] == summary["acknowledged"]


async def test_a_broker_that_refuses_the_devices_is_reported_and_exits_with_1(tmp_path):
    broker = Mosquitto(tmp_path, "allow_anonymous false")
    await broker.start()
    run = await simulate(
        "run", "greenhouse", "--url", broker.url, "--ledger", tmp_path / "l.db", "--duration", 1, "--settle", 0
    )
    _, errors = await run.communicate()
    await broker.kill()
    assert run.returncode == 1
    assert b"Not authorized" in errors
    assert b"Traceback" not in errors
