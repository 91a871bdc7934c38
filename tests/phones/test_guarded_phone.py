"""The guard on simulated phones over real adb: allowed, refused and confirmed actions, and its reports."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from recording_device import SIZE, RecordingDevice

from mobile_r1_jax.agent.actions import Action, Click, Key, LongPress, Open, Swipe, SystemButton, Terminate, Type, Wait
from mobile_r1_jax.agent.frames import Frame, Point
from mobile_r1_jax.phones.adb.phone import AdbPhone
from mobile_r1_jax.phones.fleet import Fleet
from mobile_r1_jax.phones.guard.judging import Judgement
from mobile_r1_jax.phones.guard.phone import GuardedPhone
from mobile_r1_jax.phones.phone import PhoneError, PhonesUnavailable
from mobile_r1_jax.phones.providers import open_phones
from mobile_r1_jax.phones.settings import INSTANT, DeviceSettings, GuardSettings, PhoneSettings, SimulatedSettings
from mobile_r1_jax.phones.simulator.android.shell import Result, failed, printed
from mobile_r1_jax.phones.simulator.device import Device
from mobile_r1_jax.phones.simulator.screen import Element, Screen, draw
from mobile_r1_jax.tasks.task import Risk, Task

SCREEN = Frame("device", *SIZE)
LAUNCHER = "com.sim.launcher"


def at(x: int, y: int) -> Point:
    return Point(x, y, SCREEN)


TAP = Click(at(56, 98))  # the middle of a button in row 3


class PageDevice(RecordingDevice):
    """A recording device with any elements, in any package."""

    def __init__(self, *names: str, package: str = "com.acme.shop", kind: str = "button") -> None:
        super().__init__()
        self.shown = [Element(name, kind, (0, 3 + n, 4, 1), tap=lambda state: None) for n, name in enumerate(names)]
        self.package = package

    @property
    def focus(self) -> tuple[str, str]:
        return self.package, ".MainActivity"

    def elements(self) -> list[Element]:
        return self.shown

    def screenshot(self) -> bytes:
        return draw(Screen("", 0, tuple(self.shown)), SIZE)


Guard = Callable[..., tuple[GuardedPhone, PageDevice]]


@pytest.fixture
def guarded(scripted) -> Guard:
    """Return a guarded phone that shows a page: guarded("Pay", confirm="risky", ask=None, answers={})."""

    def make(*names: str, device: Device | None = None, ask: Any = None, answers: Any = None, **settings: Any) -> Any:
        shown = device or PageDevice(*names)
        phone, script = scripted(answers or {}, shown)
        guard = GuardedPhone(phone, GuardSettings(**settings), ask)
        guard.script = script
        return guard, shown

    return make


def dumps(phone: GuardedPhone) -> int:
    return len(phone.script.ran("uiautomator dump"))


NAMES = ["Pay", "Delete", "Send", "Install", "Allow", "立即支付", "删除", "发送", "安装", "允许"]
TOUCHES = [TAP, LongPress(at(56, 98), 1.0), Swipe(at(20, 98), at(90, 98)), Swipe(at(56, 98), at(56, 90))]
ENTERS = [SystemButton("Enter"), Key("ENTER"), Key("66"), Key("numpad_enter"), Key("dpad_center")]


@pytest.mark.parametrize(("name", "action"), [*((name, TAP) for name in NAMES), *(("Pay", touch) for touch in TOUCHES)])
def test_risky_touch_is_refused_reported_and_not_sent(guarded: Guard, name: str, action: Action) -> None:
    phone, device = guarded(name)
    effect = phone.perform(action)
    assert effect.startswith("the guard refused this: ") and name in effect
    assert device.gestures == []
    (decision,) = phone.decisions
    assert (decision.verdict, decision.package, decision.reason) == ("refused", "com.acme.shop", effect)
    assert name in decision.words and len(decision.risks) == 1


@pytest.mark.parametrize(
    "action",
    [
        Click(at(56, 126)),  # "Open", below
        Click(at(56, 20)),  # nothing
        Swipe(at(56, 110), at(56, 10)),  # scrolls, starting on the button
        SystemButton("Back"),
        Key("volume_up"),
        Key("no such key"),
        Key("DEL"),
        Type("Pay"),
    ],
)
def test_other_actions_are_performed_and_not_recorded(guarded: Guard, action: Action) -> None:
    phone, device = guarded("Pay", "Open")
    effect = phone.perform(action)
    assert "guard" not in effect and phone.decisions == []
    assert len(device.happened) == (action != Key("no such key"))


def test_wait_terminate_keys_text_and_scrolling_read_no_page(guarded: Guard) -> None:
    phone, _ = guarded("Pay")
    for action in (Wait(1), Terminate("success"), Key("HOME"), Type("x"), Swipe(at(56, 200), at(56, 20)), Open("Shop")):
        phone.perform(action)
    assert dumps(phone) == 0
    phone.perform(TAP)
    assert dumps(phone) == 1


def test_page_is_read_again_only_after_its_image_changed(guarded: Guard) -> None:
    phone, device = guarded("Pay", "Open")
    phone.screenshot()
    assert "refused" in phone.perform(TAP)
    phone.screenshot()
    assert phone.perform(Click(at(56, 126))) == ""
    assert dumps(phone) == 1
    phone.screenshot()
    # it changes after the picture that the policy has seen
    device.shown = [Element("Send", "button", (0, 4, 4, 1), tap=lambda state: None)]
    assert "sending" in phone.perform(Click(at(56, 126)))
    assert dumps(phone) == 2


def test_permits_of_a_task_allow_the_action_until_the_next_reset(guarded: Guard) -> None:
    phone, device = guarded("Pay")
    phone._permits = frozenset({Risk.DELETION})
    assert "does not permit" in phone.perform(TAP)
    phone._permits = frozenset({Risk.PAYMENT})
    assert phone.perform(TAP) == "" and device.gestures == [("tap", 56, 98)]
    assert [decision.verdict for decision in phone.decisions] == ["refused", "permitted"]


def test_reset_sets_the_permits_of_its_task_and_clears_decisions(guarded: Guard) -> None:
    phone, _ = guarded(device=Device(size=SIZE, seed=0))
    phone.reset(Task("Shop", "Pay", permits=frozenset({Risk.PAYMENT})))
    phone.phone.checked("am start -a android.intent.action.VIEW -d simshop://cart")
    pay = next(e for e in phone.script.android.device.elements() if e.name == "Pay").center(SIZE)
    assert phone.perform(Click(at(*pay))) == "" and len(phone.decisions) == 1
    assert phone.script.android.device.state()["shop"]["orders"] == 1
    phone.reset(Task("Shop", "Look at the cart"))
    assert phone.decisions == []
    phone.phone.checked("am start -a android.intent.action.VIEW -d simshop://item/Shoes")
    phone.perform(Click(at(20, 182)))  # Add
    assert "payment" in phone.perform(Click(at(*pay)))
    assert phone.script.android.device.state()["shop"]["orders"] == 1


@pytest.mark.parametrize("answer", [True, False])
def test_answer_of_the_person_decides(guarded: Guard, answer: bool) -> None:
    asked: list[tuple[Action, Judgement]] = []
    phone, device = guarded("Pay", "Open", ask=lambda *question: asked.append(question) or answer)
    effect = phone.perform(TAP)
    assert effect.startswith("the user confirmed" if answer else "the user refused") and "Pay" in effect
    assert len(device.gestures) == answer
    assert [decision.verdict for decision in phone.decisions] == ["confirmed" if answer else "refused"]
    assert asked[0][0] == TAP and asked[0][1].words == ("Pay",)
    phone.perform(Click(at(56, 126)))
    assert len(asked) == 1


def test_confirm_every_asks_about_each_action_and_confirm_never_asks_nothing(guarded: Guard) -> None:
    asked: list[Action] = []
    phone, device = guarded("Open", confirm="every", ask=lambda action, _: asked.append(action) or True)
    for action in (TAP, Key("HOME"), Type("x"), Swipe(at(56, 200), at(56, 20)), Wait(0.1)):
        phone.perform(action)
    assert len(asked) == 4 and len(device.happened) == 4
    phone, device = guarded("Pay", confirm="never")
    assert phone.perform(TAP) == "" and len(device.gestures) == 1 and dumps(phone) == 0 and phone.decisions == []


UNREADABLE = [
    failed("ERROR: could not get idle state.", 0),
    failed("ERROR: null root node returned by UiTestAutomationBridge.", 0),
    failed("Killed", 137),
    printed("UI hierchary dumped to: /data/local/tmp/window_dump.xml\n"),  # and the file does not exist
]


@pytest.mark.parametrize("answer", UNREADABLE)
def test_touch_on_an_unreadable_page_counts_as_risky(guarded: Guard, answer: Result) -> None:
    phone, device = guarded("Open", answers={"uiautomator dump": answer})
    assert "cannot be read" in phone.perform(TAP)
    assert "cannot be read" in phone.perform(SystemButton("Enter"))
    assert device.gestures == [] and len(phone.decisions) == 2
    assert phone.perform(Swipe(at(56, 200), at(56, 20))) == phone.perform(SystemButton("Back")) == ""
    phone._permits = frozenset(Risk) - {Risk.SENDING}
    assert "cannot be read" in phone.perform(TAP)
    phone._permits = frozenset(Risk)
    assert phone.perform(TAP) == ""
    phone, device = guarded("Open", confirm="never", answers={"uiautomator dump": answer})
    assert phone.perform(TAP) == "" and len(device.gestures) == 1


def test_failure_while_reading_the_page_sends_no_action(guarded: Guard, server) -> None:
    phone, device = guarded("Open")
    device.failures = []
    phone.script.answers["uiautomator dump"] = lambda line: (_ for _ in ()).throw(RuntimeError("broken"))
    with pytest.raises(PhoneError) as caught:
        phone.perform(TAP)
    assert not caught.value.delivered and device.gestures == []  # so that the fleet may repeat it
    phone.script.answers.clear()
    device.failures = [RuntimeError("the tap broke")]
    with pytest.raises(PhoneError) as caught:
        phone.perform(TAP)
    assert caught.value.delivered


@pytest.mark.parametrize("action", ENTERS)
def test_enter_is_judged_by_the_send_button_of_the_page(guarded: Guard, action: Action) -> None:
    phone, _ = guarded(device=Device(size=SIZE, seed=0))
    device = phone.script.android.device
    phone.phone.checked("am start -a android.intent.action.SENDTO -d sms:Anna")
    assert phone.perform(action) == ""  # nothing is written yet
    assert phone.perform(Type("Hello")) == ""
    assert "sending" in phone.perform(action)
    assert device.state()["messages"]["sent"] == {}
    phone._permits = frozenset({Risk.SENDING})
    phone.perform(SystemButton("Enter"))
    assert device.state()["messages"]["sent"] == {"Anna": ["Hello"]}


@pytest.mark.parametrize("text", ["Hello\n", "\nHello\nBob\n", "你好\n", "Hello\n\n"])
def test_line_break_in_typed_text_counts_as_enter(guarded: Guard, text: str) -> None:
    phone, _ = guarded(device=Device(size=SIZE, seed=0))
    phone.phone.checked("am start -a android.intent.action.SENDTO -d sms:Anna")
    effect = phone.perform(Type(text))
    assert "sending" in effect and phone.decisions[0].action == {"action": "system_button", "button": "Enter"}
    assert phone.script.android.device.state()["messages"]["sent"] == {}


def test_enter_in_a_search_field_searches(guarded: Guard) -> None:
    phone, device = guarded("Pay")
    device.shown.append(Element("Search", "field", (0, 1, 4, 1), tap=lambda state: None, focused=True))
    assert phone.perform(Type("shoes\n")) == ""
    device.shown[-1] = Element("Note", "field", (0, 1, 4, 1), tap=lambda state: None, focused=True)
    assert "payment" in phone.perform(Type("shoes\n"))
    assert "30 lines" in phone.perform(Type("a\n" * 31))


def test_tab_in_typed_text_cannot_move_the_focus_to_a_button(guarded: Guard) -> None:
    phone, device = guarded("Pay")
    phone.phone._text_input._timings = replace(INSTANT, typed=0.01)
    shown = [f"mInputShown={shown}" for shown in ("true", "false")]
    phone.script.answers["dumpsys input_method"] = lambda line: shown.pop(0)
    assert "no text field" in phone.perform(Type("name\t "))
    assert device.happened == [("text", "name"), ("key", "TAB")] and device.text == "name\t"


def test_only_allowed_apps_open_and_stay_in_front(guarded: Guard) -> None:
    phone, _ = guarded(device=Device(size=SIZE, seed=0), allow=("com.sim.settings",))
    device = phone.script.android.device
    assert "com.sim.shop is not among the allowed apps" in phone.perform(Open("com.sim.shop"))
    assert device.focus[0] == LAUNCHER
    assert "no app" in phone.perform(Open("Nowhere"))
    assert phone.perform(Open("com.sim.settings")) == "" and device.focus[0] == "com.sim.settings"
    assert phone.perform(SystemButton("Home")) == "" and len(phone.decisions) == 1
    shop = next(element for element in device.elements() if element.name == "Shop").center(SIZE)
    effect = phone.perform(Click(at(*shop)))  # by its icon
    assert effect.startswith("the guard went") and "com.sim.shop" in effect and device.focus[0] == LAUNCHER
    phone.phone.checked("am start -a android.intent.action.VIEW -d simshop://cart")  # another app opens by itself
    assert "com.sim.shop" in phone.perform(Click(at(5, 5)))
    assert device.focus[0] == "com.sim.shop" and phone.perform(SystemButton("Back")) != "x"
    assert [decision.risks for decision in phone.decisions if decision.verdict != "refused"] == []


def test_text_of_a_screen_never_reaches_a_shell(guarded: Guard) -> None:
    phone, device = guarded("Pay; reboot", "$(reboot) `reboot`")
    device.package = "com.acme;reboot"
    assert "refused" in phone.perform(TAP)
    phone.perform(Click(at(56, 126)))
    assert not any("reboot" in line for line in phone.script.lines)
    assert device.gestures == [("tap", 56, 126)]


def test_devices_are_guarded_and_simulated_phones_are_not(put_on_wire, server) -> None:
    listening = put_on_wire(PageDevice("Pay"))
    named = DeviceSettings(f"{server.host}:{server.port}", (listening.android.serial,))
    settings = PhoneSettings(("devices", "simulated"), count=1, timings=INSTANT, devices=named)
    with open_phones(settings, 0, guard=GuardSettings()) as (device, simulated):
        assert isinstance(device, GuardedPhone) and "refused" in device.perform(TAP)
        assert isinstance(simulated, AdbPhone) and simulated.decisions == ()
    with open_phones(settings, 0, ask=lambda *_: True) as (device, _):
        assert "confirmed" in device.perform(TAP)
    with (
        pytest.raises(PhonesUnavailable, match=r"guard\.confirm is every"),
        open_phones(settings, 0, guard=GuardSettings(confirm="every")),
    ):
        pass
    alone = PhoneSettings(count=1, simulated=SimulatedSettings(size=SIZE))
    with open_phones(alone, 0, guard=GuardSettings(confirm="every")) as phones:
        assert len(phones) == 1


def test_guarded_phone_has_every_method_of_a_phone(guarded: Guard) -> None:
    phone, _ = guarded("Pay")

    async def main() -> tuple[str, int, int]:
        async with Fleet([phone]) as fleet, fleet.lease() as leased:
            await leased.screenshot()
            effect = await leased.perform(TAP)
            assert fleet.sizes == set() and leased.serial == phone.phone.serial
            return effect, len(leased.decisions), phone.generation

    effect, count, generation = asyncio.run(main())
    assert "refused" in effect and (count, generation) == (1, 0)
