"""Run as one of several processes by test_hosts.py: it joins the others, without JAX, and does what it is asked.

python one_host.py ADDRESS COUNT INDEX WAIT WHAT
"""

import asyncio
import sys
import time

from mobile_r1_jax.agent.errors import OneLineError
from mobile_r1_jax.runtime.hosts import Hosts
from mobile_r1_jax.runtime.interrupts import Interrupted, Interrupts
from mobile_r1_jax.runtime.links import call_roll
from mobile_r1_jax.runtime.places import Place


def work(hosts: Hosts, interrupts: Interrupts, what: str) -> None:
    if what == "share":
        every = hosts.gather("numbers", list(hosts.share(7)))
        print([number for part in every for number in part], hosts.of_first("name", f"from {hosts.index}"))
    elif what.startswith("differ:"):
        hosts.agree({"the code": "abc", "mesh": what.split(":")[1 + hosts.index]})
    elif what == "raise":
        if hosts.index == 1:
            raise OneLineError("this host has no disk")
        hosts.gather("never", None)
    elif what == "wait":
        print("waiting", flush=True)
        hosts.gather("never", time.sleep(3600) if hosts.index else None)
    elif what == "play":
        interrupts.run(play(hosts))


async def play(hosts: Hosts) -> None:
    """Host 1 plays for long; the others are done, and wait for it."""
    done = 0
    try:
        while True:
            await hosts.until_stop(asyncio.sleep(3600 if hosts.index == 1 and done == 2 else 0.01))
            hosts.gather("played", None)
            done += 1
            print(f"update {done}", flush=True)
    except asyncio.CancelledError:
        print(f"saved after update {done}", flush=True)
        raise


def main(address: str, count: str, index: str, wait: str, what: str) -> int:
    hosts = Hosts()
    try:
        with Interrupts() as interrupts:
            place = Place(address, int(count), int(index))
            hosts = Hosts(place, call_roll(place, float(wait)))
            interrupts.stop_by(hosts.stop)
            hosts.on_stop(interrupts.follow)
            try:
                work(hosts, interrupts, what)
                hosts.leave()
            except BaseException as error:
                if isinstance(error, Interrupted):
                    hosts.leave()
                else:
                    hosts.fail(error)
                raise
    except OneLineError as error:
        print(f"error: {error}")
        return 1
    except Interrupted as error:
        print(f"stopped by {error}")
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
