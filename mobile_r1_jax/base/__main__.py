"""python -m mobile_r1_jax.base: makes the small base policy, in an hour or two on two cores."""

from pathlib import Path

import jsonargparse

from mobile_r1_jax.base.pretraining import Pretraining, pretrain


def main(folder: Path = Path("runs/base"), run: Pretraining = Pretraining()) -> None:  # noqa: B008
    """Pretrains from the newest checkpoint in `folder`; the same command again goes on where it stopped."""
    pretrain(run, folder)


if __name__ == "__main__":
    jsonargparse.auto_cli(main)
