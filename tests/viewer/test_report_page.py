import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from mobile_r1_jax import view
from mobile_r1_jax.agent.actions import Click, Terminate
from mobile_r1_jax.agent.frames import Frame, Point
from mobile_r1_jax.agent.trajectory import Ending, write_trajectories
from mobile_r1_jax.evaluation.metrics import Result, Share
from mobile_r1_jax.evaluation.results import write_result
from mobile_r1_jax.viewer import ReportError, write_report

Play = Callable[..., None]
MODEL = Frame("model", 112, 224)
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)></style></title>\u202e\x07&amp;"


class Elements(HTMLParser):
    """The elements that a browser would build, with their attributes and texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def page_of(directory: Path) -> Elements:
    return Elements(write_report(directory).read_text(encoding="utf-8"))


def tap(x: int = 10, y: int = 20, frame: Frame = MODEL) -> Click:
    return Click(Point(x, y, frame))


def test_page_names_every_shown_trajectory_and_its_screenshots_exist(run, play: Play, make) -> None:
    tasks = ["Buy tea", "把Wifi设为on", "Call Dora"]
    play("evaluation-base", *(make(tap(), Terminate("success"), task=task) for task in tasks))
    play("task_level", make(tap(), task="Sell tea", size=(100, 200)))
    page = page_of(run)
    assert {turns["aria-label"] for turns in page.all("ol")} == {f"Turns of: {task}" for task in (*tasks, "Sell tea")}
    assert all(task in page.texts for task in tasks)
    sources = [image["src"] for image in page.all("img")]
    assert len(sources) == 7
    assert all((run / unquote(source)).is_file() for source in sources)


def test_text_of_a_model_is_escaped(run, play: Play, make) -> None:
    parts = {"thought": HOSTILE, "sentence": HOSTILE}
    well_formed = f"<think>{parts['thought']}</think><action>{parts['sentence']}</action>" + (
        '<tool_call>{"name": "mobile_use", "arguments": {"action": "type", "text": '
        + json.dumps(HOSTILE)
        + "}}</tool_call>"
    )
    play(
        "evaluation" + HOSTILE.replace("/", "-").replace("\x07", ""),
        make(well_formed, HOSTILE, task=HOSTILE, app=HOSTILE, effect=HOSTILE, task_id=HOSTILE.replace("\u202e", "")),
    )
    (run / "config.yaml").write_text(json.dumps({"name": HOSTILE, "resizing": {"scale": 1.0}}))
    (run / "metrics.jsonl").write_text(json.dumps({"stage": HOSTILE, "step": 1, HOSTILE: 1.0}) + "\n")
    write_result(run, Result(HOSTILE, *[Share(1, 2)] * 5, 0))
    page = page_of(run)
    assert [attributes for attributes in page.all("script")] == [{}]  # only our markup
    assert not [name for _, attributes in page.found for name in attributes if name.startswith("on")]
    assert all(image["src"].startswith("trajectories/") for image in page.all("img"))
    assert all(link["href"].startswith("#") for link in page.all("a"))
    text = "".join(page.texts)
    assert text.count("alert(1)") >= 8  # shown as text
    assert "\u202e" not in text and "\x07" not in text


def test_hostile_file_name_is_escaped(run, make) -> None:
    write_trajectories(run, [make(tap())])
    line = json.loads((run / "data.jsonl").read_text())
    name = '"><script>alert(1)<'
    (run / "images" / line["trajectory"][0]["image"]).rename(run / "images" / name)
    line["trajectory"][0]["image"] = name
    (run / "data.jsonl").write_text(json.dumps(line) + "\n")
    page = page_of(run)
    assert len(page.all("script")) == 1
    assert unquote(page.all("img")[0]["src"]) == f"images/{name}"


def test_content_policy_forbids_other_scripts_and_resources(run) -> None:
    import base64
    import hashlib

    page = write_report(run).read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert "default-src &#x27;none&#x27;" in policy
    for tag in ("style", "script"):
        content = re.search(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src &#x27;sha256-{digest}&#x27;" in policy


@pytest.mark.parametrize("present", ["config", "metrics", "results", "broken", "unsampled"])
def test_parts_of_a_run_may_be_missing_or_empty(run, make, present: str) -> None:
    if present != "config":
        (run / "config.yaml").unlink()
    if present == "metrics":
        rows = [{"stage": "task_level", "step": 1, "reward": None}, {"stage": "task_level", "step": 2, "reward": 1.5}]
        (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"stage": "ta')
    if present == "results":
        write_result(run, Result("base", Share(0, 0), Share(0, 0), Share(0, 0), Share(0, 0), Share(0, 0), 3))
    if present == "broken":
        (run / "data.jsonl").write_text('{"no": "trajectory"}\n')
    if present == "unsampled":
        write_trajectories(run, [make(Terminate("failure"), "", sampled=False, ending=Ending.GAVE_UP)])
    text = " ".join(page_of(run).texts)
    expected = {
        "config": "No trajectory has been written yet.",
        "metrics": "1.5",
        "results": "3 episodes were ended by the phones",
        "broken": "line 1: trajectory is missing",
        "unsampled": "(nothing)",
    }
    assert expected[present] in text


def test_results_are_numbers_with_intervals_and_dots_on_a_scale(run) -> None:
    for stage, hits in (("base", 10), ("task-level", 75)):
        write_result(run, Result(stage, Share(hits, 100), *[Share(1, 2)] * 4, 0))
    page = page_of(run)
    assert "10.0" in page.texts and "5.5 to 17.4" in page.texts and "10 of 100" in page.texts
    chart = next(svg for svg in page.all("svg") if svg.get("aria-label", "").startswith("Task success"))
    assert "task-level 75.0 [65.7, 82.5]" in chart["aria-label"]
    dots = [float(circle["cx"]) for circle in page.all("circle") if circle.get("class") == "dot"][:2]
    ticks = [float(text["x"]) for text in page.all("text") if text.get("class") == "tick middle"][:5]
    assert dots[1] == ticks[3]  # 75 %
    assert ticks[0] < dots[0] < ticks[1]


def test_every_directory_of_trajectories_can_be_viewed(
    tmp_path: Path, make, capsys: pytest.CaptureFixture[str]
) -> None:
    write_trajectories(tmp_path, [make(tap(), sampled=False)])
    assert view.main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'report.html'}\n"
    assert page_of(tmp_path).all("img")[0]["src"].startswith("images/")


@pytest.mark.parametrize("kind", ["missing", "empty", "a file", "broken results", "broken config"])
def test_directory_without_trajectories_is_refused_in_one_line(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "here"
    if kind == "a file":
        directory.write_text("")
    elif kind != "missing":
        directory.mkdir()
    if kind == "broken results":
        (directory / "results.jsonl").write_text('{"stage": "base"}\n')
    if kind == "broken config":
        (directory / "config.yaml").write_text("resizing: {scales: 1}\n")
    assert view.main([str(directory)]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1 and str(directory) in printed.err
    with pytest.raises(ReportError):
        write_report(directory)
