"""Write annotations of the simulator's held-out tasks: data to evaluate policies of the demo on, never to train them.

Run: python tools/held_out_annotations.py --config=configs/tiny.yaml --count=200 --out=runs/held-out

Half of the trajectories are training tasks with unseen parameters, half are tasks on apps that training does not use.
Coordinates are pixels of the screenshots, and the data says so. Every step lists the elements of its screen.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from mobile_r1_jax.agent.data_files import has_data
from mobile_r1_jax.agent.trajectory import write_trajectories
from mobile_r1_jax.config import parse_run
from mobile_r1_jax.phones.providers import open_tasks
from mobile_r1_jax.tasks.suite import DemonstrationStyle, Split, TaskSuite

SPLITS = (Split.UNSEEN_PARAMETERS, Split.UNSEEN_APPS)


def write_held_out(suite: TaskSuite, out: Path, count: int, seed: int, system: str, popups: float) -> None:
    """Write `count` trajectories of each held-out split into a directory. system: template of the system message."""
    style = DemonstrationStyle(system, None, mistakes=0.0, popups=popups)
    for split in SPLITS:
        trajectories = suite.demonstrations(count, seed, style, split)
        write_trajectories(out, (replace(one, subsets=(split.value,)) for one in trajectories))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/tiny.yaml", help="the run whose tasks and system message are used")
    parser.add_argument("--count", type=int, default=200, help="number of trajectories")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--popups", type=float, default=2.0, help="mean number of pop-ups in a task")
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args()
    if has_data(flags.out):
        raise SystemExit(f"error: {flags.out} has data already; delete it, or name another --out")
    run = parse_run("held_out_annotations", [f"--config={flags.config}"])
    write_held_out(open_tasks(run.tasks, run.phones), flags.out, flags.count // 2, flags.seed, run.system, flags.popups)
    print(flags.out)


if __name__ == "__main__":
    main()
