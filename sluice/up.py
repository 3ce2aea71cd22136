"""`sluice up`: the whole stack on one machine, as child processes of one supervisor.

Order: the directory's lock, ports and secrets, mongod and redis-server, schema and first owner, the broker,
ingest with api and jobs; run.json only when all of them are ready. Stopping goes the other way.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from config.settings import Settings
from sluice import demo, lock, private, probe, stack
from sluice.children import Child, Program, describe
from sluice.errors import UpError
from sluice.provision import ProvisionError
from sluice.stack import Address, Stack

log = structlog.get_logger()

READY_WITHIN_S = 60.0
DEATHS_BEFORE_READY = 3  # then it is not bad luck, and the person at the terminal should know
LOGS_BOUNDED_EVERY_S = 10.0
# Stopping, in seconds from the signal: each stage has until then, and is killed; all is over within 10.
STOPPED_BY_S = (4.0, 6.5, 9.0)


async def up(settings: Settings, demo_devices: int, config: Path | None = None) -> None:
    """Runs until cancelled; raises `UpError` or `BinaryError` where it cannot start."""
    data = settings.data.resolve()
    with lock.held(data), lock.children(data) as inherited:
        (data / "run.json").unlink(missing_ok=True)  # of a supervisor that was killed
        await lock.remnants_gone(inherited)
        planned = stack.plan(settings, data, config)
        async with _supervised(planned, inherited) as supervisor:
            await supervisor.start()
            supervisor.announce()
            if demo_devices:
                await supervisor.start_demo(demo_devices)
            await asyncio.Event().wait()


@asynccontextmanager
async def _supervised(planned: Stack, inherited: int) -> AsyncIterator["Supervisor"]:
    """Whatever ends the body, every child is gone and so is run.json."""
    async with asyncio.TaskGroup() as group:
        supervisor = Supervisor(planned, inherited, group)
        bounding = group.create_task(supervisor.bound_logs(), name="bound-logs")
        try:
            yield supervisor
        finally:
            bounding.cancel()
            await supervisor.stop()


class Supervisor:
    def __init__(self, planned: Stack, inherited: int, group: asyncio.TaskGroup) -> None:
        self._stack = planned
        self._inherited = inherited
        self._group = group
        self._run_file = planned.data / "run.json"
        self._announced = False
        self._databases: list[Child] = []
        self._brokers: list[Child] = []
        self._workers: list[Child] = []

    async def start(self) -> None:
        began = time.monotonic()
        self._databases = self._keep(*self._stack.databases)
        await self._init()
        self._brokers = self._keep(self._stack.broker)
        await self._until(probe.listens, self._stack.listeners)
        self._workers = self._keep(*self._stack.workers)
        await self._until(probe.is_ready, self._stack.health)
        log.info("stack_ready", after_s=round(time.monotonic() - began, 2))

    def announce(self) -> None:
        """Writes run.json, and says where everything is."""
        self._announced = True
        self._write_run_file()
        urls, data = self._stack.urls, self._stack.data
        print(f"Sluice is ready.\n  API docs     {urls['http']}/docs")
        print(f"  Broker       {urls['mqtt']} and {urls['ws']} ({self._stack.broker_kind})")
        print(f"  It promises  {self._stack.promise}")
        print(f"  Credentials  {data / 'credentials.json'}")
        print(f"  Logs         {data / 'logs'}", flush=True)

    async def start_demo(self, count: int) -> None:
        """The simulator as one more child; a stack without it is better than none, so it only warns."""
        try:
            program = await asyncio.to_thread(demo.prepare, self._stack, count)
        except ProvisionError as error:
            log.warning("demo_not_started", reason=str(error))
            return
        self._workers += self._keep(program)
        print(f"  Demo         {count} devices publishing, from demo-01 on", flush=True)

    async def stop(self) -> None:
        """Workers, then the broker, then the databases: nobody loses what they still talk to."""
        self._announced = False
        self._run_file.unlink(missing_ok=True)
        began = time.monotonic()
        stages = (self._workers, self._brokers, self._databases)
        for children, stopped_by_s in zip(stages, STOPPED_BY_S, strict=True):
            left = max(0.1, began + stopped_by_s - time.monotonic())
            await asyncio.gather(*(child.stop(left) for child in children))
        log.info("stack_stopped", after_s=round(time.monotonic() - began, 2))

    async def bound_logs(self) -> None:
        while True:
            await asyncio.sleep(LOGS_BOUNDED_EVERY_S)
            for child in self._all():
                child.bound_log()

    def _keep(self, *programs: Program) -> list[Child]:
        children = [self._child(program) for program in programs]
        for child in children:
            self._group.create_task(child.keep(), name=child.name)
        return children

    def _child(self, program: Program) -> Child:
        log_file = self._stack.data / "logs" / f"{program.name}.log"
        return Child(program, log_file, (self._inherited,), self._write_run_file)

    async def _init(self) -> None:
        """Waits for the databases on its own, so it starts beside them."""
        init = self._child(self._stack.init)
        self._workers = [init]  # so that a stop reaches it
        task = self._group.create_task(init.run_once(), name="init")
        while not task.done():
            self._give_up_on_the_dying()
            await asyncio.wait([task], timeout=0.1)
        if status := task.result():
            raise UpError(f"init ended with {describe(status)}: {init.last_words}")

    async def _until(self, answers: probe.Probe, addresses: Mapping[str, Address]) -> None:
        """Until each address answers; raises `UpError` where one never does."""
        deadline = time.monotonic() + READY_WITHIN_S
        for name, address in addresses.items():
            while not await answers(*address):
                self._give_up_on_the_dying()
                if time.monotonic() > deadline:
                    raise UpError(f"{name} not ready after {READY_WITHIN_S:.0f} s; {self._words()}")
                await asyncio.sleep(0.05)

    def _give_up_on_the_dying(self) -> None:
        for child in self._all():
            if child.deaths >= DEATHS_BEFORE_READY:
                raise UpError(
                    f"{child.name} died {child.deaths} times; {child.log_file} ends: {child.last_words}"
                )

    def _write_run_file(self) -> None:
        if self._announced:
            named = {program.name for program in _programs(self._stack)}
            pids = {child.name: child.pid for child in self._all() if child.name in named and child.pid}
            private.write(self._run_file, {**self._stack.urls, "pids": pids})

    def _words(self) -> str:
        return "; ".join(f"{child.name} said last: {child.last_words}" for child in self._all())

    def _all(self) -> list[Child]:
        return [*self._databases, *self._brokers, *self._workers]


def _programs(planned: Stack) -> Iterable[Program]:
    return (*planned.databases, planned.broker, *planned.workers)
