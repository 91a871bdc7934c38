"""Episodes on simulated phones over real adb, played from a script: turns, endings and recorded values."""

import gc
import signal
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

import pytest
from real_processes import hit
from scripted import (
    FAILURE,
    SIZE,
    SUCCESS,
    TASK,
    WAIT,
    LostPhone,
    Play,
    one_of_each,
    written,
)

from mobile_r1_jax.agent.actions import Malformed, Terminate
from mobile_r1_jax.agent.json_lines import read_objects
from mobile_r1_jax.agent.outcome import Outcome
from mobile_r1_jax.agent.screenshots import Screenshot
from mobile_r1_jax.agent.trajectory import Ending, read_trajectories
from mobile_r1_jax.phones.adb.phone import AdbPhone
from mobile_r1_jax.phones.fleet import Retries
from mobile_r1_jax.phones.guard.phone import GuardedPhone
from mobile_r1_jax.phones.phone import PhoneError, PhonesUnavailable
from mobile_r1_jax.phones.providers.simulated import INSTANT, SimulatedPhone, SimulatedPhones
from mobile_r1_jax.phones.settings import GuardSettings
from mobile_r1_jax.rewards.judges.state import StateJudge
from mobile_r1_jax.rollouts.episodes import MOST_MALFORMED, Episode
from mobile_r1_jax.rollouts.records import EPISODES, FAILURES, GUARD, Records
from mobile_r1_jax.tasks.task import Risk, Task


def remaining(episode: Episode) -> tuple[int, ...]:
    return tuple(at.remaining for at in episode.progress)


def test_oracle_responses_complete_every_template_over_real_adb(play: Play) -> None:
    tasks = one_of_each(popups=0)
    for task, episode in zip(tasks, play(tasks, written(tasks)), strict=True):
        assert episode.trajectory.task == task.instruction and episode.trajectory.ending is Ending.SUCCESS
        assert all(episode.made_progress) and len(episode.made_progress) == len(episode.answers)
        assert remaining(episode) == (*range(len(episode.answers), 0, -1), 1) and not episode.off_path
        assert StateJudge().score(episode.trajectory).grade == 4


def test_pop_ups_and_mistakes_leave_the_path_and_return(play: Play) -> None:
    tasks = [task for task in one_of_each(popups=1) if task.app in ("settings", "shop", "messages")][:9]
    plain, mistaken = play(tasks, written(tasks)), play(tasks, written(tasks, mistakes=1.0))
    assert any(episode.off_path for episode in plain)
    assert all(all(episode.made_progress) for episode in plain)  # an opening pop-up is not a wrong step
    for straight, astray in zip(plain, mistaken, strict=True):
        assert straight.trajectory.ending is astray.trajectory.ending is Ending.SUCCESS
        assert StateJudge().score(straight.trajectory).grade == 4  # a pop-up takes a turn of any policy
        assert astray.off_path and StateJudge().score(astray.trajectory).grade == 3


def test_malformed_responses_use_turns_send_nothing_and_end_the_episode(play: Play) -> None:
    [episode] = play([TASK], [["gibberish"] * 9])
    assert episode.trajectory.ending is Ending.FAILURE and len(episode.answers) == MOST_MALFORMED
    assert len(set(remaining(episode))) == 1 and not any(episode.made_progress)
    assert len({turn.screenshot.sha for turn in episode.trajectory.turns}) == 1
    for turn, answer in zip(episode.trajectory.turns, episode.answers, strict=True):
        assert isinstance(answer, Malformed) and turn.effect == answer.reason and turn.response == "gibberish"


def test_separated_malformed_responses_do_not_end_an_episode(play: Play) -> None:
    [episode] = play([TASK], [["x", "x", WAIT, "x", "x", FAILURE]])
    assert episode.trajectory.ending is Ending.GAVE_UP and len(episode.answers) == 6


def test_episode_ends_at_the_step_limit(play: Play) -> None:
    [episode] = play([TASK], [[WAIT] * 9], most_turns=4)
    assert episode.trajectory.ending is Ending.OUT_OF_STEPS and len(episode.answers) == 4


def test_refusals_of_the_guard_are_reported_and_recorded(
    play: Play, phones: tuple[SimulatedPhone, ...], tmp_path
) -> None:
    task = Task("shop", "Pay for the cart", {"template": "pay", "parameters": {}, "seed": 1})
    [said] = written([task])
    harmless = [text.replace("Pay", "Look at the help") for text in said]
    [refused] = play([task], [[*harmless, FAILURE]], on=[GuardedPhone(phones[0], GuardSettings())])
    turn, decision = refused.decisions[0]
    assert turn == len(said) - 2 and refused.trajectory.outcome is Outcome.NOT_DONE
    assert refused.trajectory.turns[turn].effect == decision.reason
    assert "payment" in decision.reason and decision.words == ("Pay",) and "Pay" not in harmless[turn]
    permitted = replace(task, permits=frozenset({Risk.PAYMENT}))
    [done] = play([permitted], [harmless], on=[GuardedPhone(phones[0], GuardSettings())])
    assert done.trajectory.ending is Ending.SUCCESS and done.decisions[0][1].verdict == "permitted"
    records = Records(tmp_path)
    for step in (1, 2, 2):  # killed in its second update
        records.write("task_level", step, [refused, done], [0.0, 1.0])
    rows = read_objects(tmp_path / "task_level" / GUARD)
    assert [(row["step"], row["index"], row["verdict"]) for row in rows] == [
        (step, index, verdict) for step in (1, 2) for index, verdict in ((0, "refused"), (1, "permitted"))
    ]
    assert rows[0]["turn"] == turn and rows[0]["risks"] == ["payment"] and rows[0]["task"] == task.instruction
    assert rows[0]["action"]["action"] == "click"
    row = {"provenance": {}}
    records.add("evaluation", 0, refused, row)
    records.add("evaluation", 1, done, row)
    (tmp_path / "evaluation" / EPISODES).write_text('{"index": 1, "provenance": {}}\n')
    records.finished("evaluation", row)
    assert [row["index"] for row in read_objects(tmp_path / "evaluation" / GUARD)] == [1]


def test_early_claim_of_success_is_a_failure(play: Play) -> None:
    [episode] = play([TASK], [[SUCCESS]])
    assert episode.trajectory.ending is Ending.FAILURE and episode.made_progress == (False,)
    assert isinstance(episode.answers[0].action, Terminate) and StateJudge().score(episode.trajectory).grade == 0


def test_completed_task_without_terminate_is_not_a_success(play: Play) -> None:
    done = written([TASK])[0][:-1]
    [episode] = play([TASK], [[*done, *[WAIT] * 9]], most_turns=5)
    assert episode.trajectory.ending is Ending.OUT_OF_STEPS and episode.trajectory.progress.done


def test_turn_keeps_its_sampled_tokens_and_the_next_prompt_contains_them(play: Play, tokenizer) -> None:
    [episode] = play([TASK], [[WAIT, "nonsense   here", FAILURE]])
    first, second, third = episode.prompts
    assert [len(prompt.screenshots) for prompt in episode.prompts] == [1, 2, 2]
    for turn, later in zip(episode.trajectory.turns, (second, third), strict=False):
        ids = ",".join(map(str, turn.completion.ids))
        assert ids in ",".join(map(str, later.ids.tolist())) and len(turn.completion.logps) == len(turn.completion.ids)
    assert third.screenshots[-1] == episode.trajectory.turns[2].screenshot and first.sizes == (SIZE,)


def test_episodes_are_in_the_order_of_their_tasks_and_progress_is_reported(play: Play) -> None:
    tasks = one_of_each(popups=0)[:7]
    episodes = play(tasks, [[WAIT] * (1 + index % 3) + [FAILURE] for index in range(7)])
    assert [episode.trajectory.task for episode in episodes] == [task.instruction for task in tasks]
    assert [len(episode.answers) for episode in episodes] == [2 + index % 3 for index in range(7)]
    assert sorted(map(id, play.finished)) == sorted(map(id, episodes))


def test_seeds_of_turns_depend_on_the_task_and_not_on_the_phone(play: Play, phones) -> None:
    tasks = one_of_each(popups=0)[:5]

    def seeds(on: Sequence[SimulatedPhone]) -> set[tuple[bytes, int]]:
        play(tasks, [[WAIT, FAILURE]] * 5, on=on)
        return {(prompt.ids.tobytes(), seed) for prompt, seed in play.script.asked}

    assert seeds(phones) == seeds(phones[:1]) and len({seed for _, seed in seeds(phones)}) == 10


class FailingPhone(SimulatedPhone):
    """Fails after its second screenshot."""

    taken = 0

    def screenshot(self) -> Screenshot:
        self.taken += 1
        if self.taken > 2:
            raise PhoneError(self.serial, "screencap", "gone")
        return super().screenshot()


def test_infrastructure_failure_ends_the_episode_and_keeps_its_turns(play: Play, phones) -> None:
    failing = FailingPhone(phones[0].serial, phones[0].server, INSTANT)
    [episode] = play([TASK], [[WAIT] * 9], on=[failing])
    assert episode.trajectory.ending is Ending.INFRASTRUCTURE_FAILURE
    assert len(episode.trajectory.turns) == len(episode.answers) == len(episode.prompts) == 2
    failure = episode.failure
    assert failure and (failure.reason, failure.turn, failure.response) == ("gone", 2, WAIT)
    assert any(exchange.startswith("exec:screencap -p -> ") for exchange in failure.transcript)


def test_secure_page_is_an_outcome_and_its_phone_stays_in_use(play: Play, phones, tmp_path) -> None:
    phone = LostPhone(phones[0].serial, phones[0].server, INSTANT)
    phone.hidden = 2
    tasks = one_of_each(popups=0)[:3]
    episodes = play(tasks, [[WAIT] * 9] * 3, on=[phone])
    Records(tmp_path).write("evaluation", 0, episodes)
    for episode, row in zip(episodes, read_objects(tmp_path / "evaluation" / FAILURES), strict=True):
        assert episode.trajectory.ending is Ending.SECURE_PAGE and len(episode.answers) == 2
        assert (row["ending"], row["turn"], row["response"]) == ("secure_page", 2, WAIT)
        assert "com.acme.bank/.Login forbids screenshots" in row["message"]
    read = [trajectory.ending for _, trajectory in read_trajectories(tmp_path / "evaluation")]
    assert read == [Ending.SECURE_PAGE] * 3


def test_secure_start_page_is_an_infrastructure_failure(play: Play, phones) -> None:
    phone = LostPhone(phones[0].serial, phones[0].server, INSTANT)
    phone.hidden = 0
    [episode] = play([TASK], [[WAIT] * 9], on=[phone])
    assert episode.trajectory.ending is Ending.INFRASTRUCTURE_FAILURE
    assert episode.failure and episode.failure.reason == "the start page forbids screenshots"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("which", ["adb", "simulator", "adb simulator"])
def test_death_of_our_processes_loses_only_running_episodes(
    play: Play, tokenizer, which: str, number: signal.Signals
) -> None:
    tasks = one_of_each(popups=0)[:9]
    with closing(SimulatedPhones(3, SIZE, 0, replace(INSTANT, limit=1.0))) as source:
        expected = play(tasks, written(tasks), on=source.phones)
        blow = {5: lambda: hit(which, source, number)}
        played = play(tasks, written(tasks), on=source.phones, retries=Retries(pause=0.05), at=blow)
    lost = [episode for episode in played if episode.trajectory.ending is Ending.INFRASTRUCTURE_FAILURE]
    assert len(lost) <= 3 and all("phone emulator-" in episode.failure.message for episode in lost)
    assert lost or which == "adb"  # phones outlive adb: an episode continues if its call can be repeated
    for episode, same in zip(played, expected, strict=True):
        if episode not in lost:
            assert episode.trajectory.ending is Ending.SUCCESS and not episode.failure
            assert [turn.screenshot for turn in episode.trajectory.turns] == [
                turn.screenshot for turn in same.trajectory.turns
            ]


def test_no_episode_continues_if_no_phone_is_left(play: Play, caplog) -> None:
    with closing(SimulatedPhones(3, SIZE, 0, INSTANT)) as source:
        tasks = one_of_each(popups=0)[:9]
        with pytest.raises(PhonesUnavailable, match="closed"):
            play(tasks, written(tasks), on=source.phones, retries=Retries(pause=0.05), at={5: source.close})
    gc.collect()
    assert len(play.finished) < 9 and "Task was destroyed" not in caplog.text


def test_claim_on_a_phone_without_progress_is_recorded_and_not_counted(play: Play, phones) -> None:
    real = AdbPhone(phones[0].serial, phones[0].server, INSTANT)
    [episode] = play([Task("settings", "Turn Wifi on")], [[WAIT, SUCCESS]], on=[real])
    assert episode.trajectory.ending is Ending.CLAIMED and episode.trajectory.scores == {}
    assert episode.claimed and episode.outcome is Outcome.UNKNOWN
    assert episode.progress == () and episode.made_progress == ()
