"""python -m data_pipelines.convert --source=NAME IN OUT: write a public data set, or a run, as annotations.

  python -m data_pipelines.convert --source=android_control DOWNLOADED android-control
  python -m mobile_r1_jax.launch --annotations.directory=android-control/train

OUT gets a directory for each split with data.jsonl and images/, left_out.jsonl, leaks.jsonl and README.md, a card for
Hugging Face. The same command continues a conversion that was stopped.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import combinations, islice
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from data_pipelines.card import write_card
from data_pipelines.leaks import find_leaks
from data_pipelines.sources import SOURCES, get_source
from data_pipelines.sources.drafts import Completing, Draft, Episode, load
from data_pipelines.splitting import make_split
from data_pipelines.summary import (
    LEFT_OUT,
    Summary,
    count_reasons,
    count_split,
    leak_lines,
    split_folders,
    summary_tables,
)
from mobile_r1_jax.agent.actions import Malformed
from mobile_r1_jax.agent.data_files import DATA, IMAGES
from mobile_r1_jax.agent.errors import OneLineError
from mobile_r1_jax.agent.json_fields import BrokenError
from mobile_r1_jax.agent.json_lines import append_line, count_lines
from mobile_r1_jax.agent.pictures import check_pixels
from mobile_r1_jax.agent.trajectory import Trajectory, image_name, write_trajectories
from mobile_r1_jax.agent.whole_files import write_whole

SETTINGS, LEAKS = "convert.json", "leaks.jsonl"
_WORKERS = 2  # threads that decode, and the largest number of decoded episodes that wait


@dataclass(frozen=True)
class Settings:
    """The settings that determine the output; only equal settings continue it. input: the name of IN without folder."""

    source: str
    input: str
    split: str
    test_share: float
    test_apps: tuple[str, ...]
    append_terminate: bool
    thought: str


@dataclass(frozen=True)
class Converted:
    """An episode that is ready to be written: the split of its trajectory, or why it is left out."""

    episode: Episode
    split: str
    trajectory: Trajectory | Malformed


def convert(path: Path, out: Path, settings: Settings, console: Console, limit: int | None = None) -> Summary:
    """Write the episodes of a source as annotations, and the card; return the counts of written and left-out ones.

    limit: the number of episodes of the source that are read, None: all. Raise OneLineError, and OSError, for example
    if the disk is full; what was written stays, and the same call continues.
    """
    source = get_source(settings.source, path)
    split = make_split(source, path, settings.split, test_share=settings.test_share, test_apps=settings.test_apps)
    completing = Completing(settings.append_terminate, settings.thought)
    with opened(out, settings):
        episodes, done = unfinished(source.episodes(path), out)
        if limit is not None:
            episodes = islice(episodes, max(limit - done, 0))
        with progress_bar(console) as progress:
            row = progress.add_task(source.title, total=1.0, counts="")
            written = left_out = 0
            for converted in convert_all(episodes, split, completing, out):
                write(out, converted)
                left_out += isinstance(converted.trajectory, Malformed)
                written += isinstance(converted.trajectory, Trajectory)
                counts = f"{written:,} written, {left_out:,} left out"
                progress.update(row, completed=converted.episode.fraction, counts=counts)
            progress.update(row, completed=1.0)
        summary = summarise(out)
        if not summary.splits:
            raise OneLineError(f"{path}: no episode is usable; {_first_reason(summary)}")
        write_card(out, source, summary, asdict(settings))
    return summary


@contextmanager
def opened(out: Path, settings: Settings) -> Iterator[None]:
    """Hold the lock of an output folder. Raise OneLineError if another conversion holds it, or if no
    conversion with these settings began the folder."""
    out.mkdir(parents=True, exist_ok=True)
    file, now = out / SETTINGS, json.dumps(asdict(settings), ensure_ascii=False, indent=2)
    if not file.exists() and any(out.iterdir()):
        raise OneLineError(f"{out} is not empty and was not begun by convert; choose another folder")
    if file.exists() and (before := file.read_text(encoding="utf-8").rstrip()) != now:
        raise OneLineError(
            f"{out} was begun with other settings: {' '.join(before.split())}; repeat them, or choose another folder"
        )
    handle = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OneLineError(f"another conversion writes {out}; wait for it, or choose another folder") from None
        write_whole(file, f"{now}\n")
        for draft in out.glob(f"*/{IMAGES}/*.draft"):  # of a killed conversion
            draft.unlink()
        yield
    finally:
        os.close(handle)


def unfinished(episodes: Iterator[Episode], out: Path) -> tuple[Iterator[Episode], int]:
    """Return the episodes that are not finished, and the number of those that are: each has a line in one of the files.

    Raise OneLineError if the last one differs from the source."""
    files = [*(folder / DATA for folder in split_folders(out).values()), out / LEFT_OUT]
    counted = [count_lines(file) for file in files]
    done = sum(number for number, _ in counted)
    skipped = deque(islice(episodes, done), maxlen=1)
    origins = [json.loads(line)["origin"] for _, line in counted if line]
    if done and not (skipped and skipped[0].origin in origins):
        raise OneLineError(f"{out} holds {done} episodes of another source; choose another folder")
    return episodes, done


def convert_all(
    episodes: Iterator[Episode], split: Callable[[Draft], str], completing: Completing, out: Path
) -> Iterator[Converted]:
    """Decode and check episodes in a few threads; yield them in their order."""
    waiting: deque[Future[Converted]] = deque()
    with ThreadPoolExecutor(_WORKERS) as pool:
        for episode in episodes:
            waiting.append(pool.submit(convert_one, episode, split, completing, out))
            if len(waiting) > _WORKERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def convert_one(episode: Episode, split: Callable[[Draft], str], completing: Completing, out: Path) -> Converted:
    """Decode an episode, with the pixels of all screenshots that are not stored yet."""
    loaded = load(episode, completing)
    if isinstance(loaded, Malformed):
        return Converted(episode, "", loaded)
    draft, trajectory = loaded
    try:
        name = split(draft)
        for index, turn in enumerate(trajectory.turns):
            if not (out / name / IMAGES / image_name(turn.screenshot)).exists():
                try:
                    check_pixels(turn.screenshot)
                except ValueError as error:
                    raise BrokenError(f"step {index}: {error}") from error
    except BrokenError as error:
        return Converted(episode, "", Malformed(f"{episode.origin}: {error}"))
    return Converted(episode, name, trajectory)


def write(out: Path, converted: Converted) -> None:
    """Append an episode to the data of its split, or to the list of left-out episodes."""
    if isinstance(converted.trajectory, Malformed):
        origin = converted.episode.origin
        row = {"origin": origin, "reason": converted.trajectory.reason.removeprefix(f"{origin}: ")}
        append_line(out / LEFT_OUT, json.dumps(row, ensure_ascii=False))
    else:
        write_trajectories(out / converted.split, [converted.trajectory])


def summarise(out: Path) -> Summary:
    """Count the contents of an output folder, and write the leaks between its splits to leaks.jsonl."""
    folders = split_folders(out)
    leaks = [leak for one, other in combinations(folders.values(), 2) for leak in find_leaks(one, other)]
    write_whole(out / LEAKS, "".join(json.dumps(asdict(leak), ensure_ascii=False) + "\n" for leak in leaks))
    counts = {name: count_split(folder) for name, folder in folders.items()}
    return Summary(counts, count_reasons(out / LEFT_OUT), tuple(leaks))


def progress_bar(console: Console) -> Progress:
    """Return a progress bar over the share of the source, with the counts next to it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, TextColumn("{task.fields[counts]}"), console=console)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    chosen = parse(arguments)
    console = Console()
    settings = Settings(
        chosen.source,
        chosen.input.resolve().name,
        "app" if chosen.test_apps else chosen.split,
        chosen.test_share,
        tuple(chosen.test_apps),
        chosen.append_terminate,
        chosen.thought,
    )
    try:
        check_template(chosen.thought)
        summary = convert(chosen.input, chosen.output, settings, console, chosen.limit)
    except OneLineError as error:
        return _fail(console, str(error))
    except OSError as error:
        return _fail(
            console, f"{error.filename or chosen.output}: {error.strerror or error}; the same command continues"
        )
    except KeyboardInterrupt:
        console.print("stopped; the same command continues")
        return 130
    for table in summary_tables(summary):
        console.print(table)
    for line in [
        *leak_lines(summary.leaks),
        f"train: --annotations.directory={chosen.output / next(iter(summary.splits))}",
    ]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the flags of a command line."""
    parser = argparse.ArgumentParser(
        prog="python -m data_pipelines.convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", metavar="IN", type=Path, help="the downloaded data, or one file of it")
    parser.add_argument("output", metavar="OUT", type=Path, help="a new folder, or that of a stopped conversion")
    parser.add_argument("--source", required=True, choices=list(SOURCES), help="what IN is")
    parser.add_argument("--limit", type=_count, help="read at most this many episodes; a larger limit continues")
    parser.add_argument("--split", default="own", help="own (default), own:NAME, instruction, app or none")
    parser.add_argument(
        "--test_share", type=_share, default=0.1, help="share of the instructions or apps that are test"
    )
    parser.add_argument(
        "--test_apps", type=lambda text: text.split(","), default=[], help="the apps that are test: A,B"
    )
    parser.add_argument(
        "--append_terminate", action="store_true", help="end with terminate, if the data has the last screen"
    )
    parser.add_argument(
        "--thought", default="", help="a missing thought, with {instruction}, {sentence}, {app}; else no loss"
    )
    return parser.parse_args(arguments)


def check_template(template: str) -> None:
    """Raise OneLineError if the template of a thought has an unknown field."""
    try:
        template.format(instruction="", sentence="", app="")
    except (KeyError, IndexError, ValueError) as error:
        raise OneLineError(
            f"--thought may name {{instruction}}, {{sentence}} and {{app}}, and doubles every other brace: {template!r}"
        ) from error


def _first_reason(summary: Summary) -> str:
    if not summary.reasons:
        return "it holds none"
    return f"the first, {summary.reasons[0].origin}: {summary.reasons[0].reason}"


def _count(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _share(text: str) -> float:
    if not 0 <= (share := float(text)) <= 1:
        raise argparse.ArgumentTypeError("must be from 0 to 1")
    return share


def _fail(console: Console, message: str) -> int:
    console.print(f"error: {message}", style="red", highlight=False, markup=False, soft_wrap=True)
    return 2


if __name__ == "__main__":
    sys.exit(main())
