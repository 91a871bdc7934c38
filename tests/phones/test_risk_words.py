"""Risky words on elements: labels by kind and language, similar harmless labels, ids and questions."""

import pytest

from mobile_r1_jax.phones.guard.judging import Judgement, judge_touch
from mobile_r1_jax.phones.guard.page import Element, Page
from mobile_r1_jax.phones.guard.risks import risks_of_label
from mobile_r1_jax.tasks.task import Risk

RISKY = {
    Risk.PAYMENT: """Pay|PAY NOW|Pay $12.00|Confirm and pay|Yes, pay 3 €|Buy now|Purchase|Checkout|Place your order|
        Subscribe now|Top up|Slide to pay|Review & pay|$4.99 Buy|Ｐａｙ|Buy now, pay later|Transfer|
        支付|立即支付|确认付款|提交订单|立即购买|去结算|转账|充值 ￥50|发红包|確認付款|
        使用支付宝支付|同意协议并支付|Pay 支付""",
    Risk.DELETION: """Delete|DELETE|Yes, delete|Delete message from Ann|Remove|Erase all data|Discard draft|Empty trash|
        Clear browsing data|Factory reset|Move to bin|Delete 3 items|De\u00adlete|
        删除|删 除|确认删除|清空聊天记录|移除|抹掉所有内容|恢复出厂设置|注销账号|刪除|移到回收站|永久删除|
        删除此联系人|清除缓存""",
    Risk.SENDING: """Send|SEND SMS|Send message|Post|Publish|Reply|Share|Submit|Upload|Tweet|Call|Save and send|Go live|
        发送|发布|发表|回复|分享|转发|提交|上传|拨打|邀请好友|傳送|发送给文件传输助手""",
    Risk.INSTALLING: """Install|INSTALL ANYWAY|Uninstall|Update|Update all|Update now|Get the app|Reinstall|Sideload|
        Download and install|Allow from this source|OK, install|
        安装|立即安装|继续安装|卸载|更新|立即更新|全部更新|升级|系统升级|安裝|解除安裝|下载并安装""",
    Risk.PERMISSIONS: """Allow|ALLOW|Always allow|Allow all the time|Allow only while using the app|While using the app|
        Only this time|Grant access|Authorize|Permit|Trust|Give permission|
        允许|始终允许|仅在使用中允许|本次使用允许|授权|同意授权|允許|仅限这一次|准许|信任|去授权|开启权限""",
}

HARMLESS = """
    Payment methods help article|Undelete|Don't delete|Don’t delete|Do not delete|Send feedback later
    |Not now|Cancel|Never
    |Paypal|Google Pay|How to pay|Pay attention|Payments|Buyer protection|Delete later|Deleted items
    |Recently deleted|Undo
    |Sent|Sender|Not sent|Unsent|Call history|Call log|Posts|Shared with me|Sharing|Installed apps|Update history
    |Updated today|Don't allow|Not allowed|Allowed apps|Permissions|Permission manager|Grants and funding|Stop sharing
    |Why was my message deleted|The article says that you can delete your old files whenever you like to
    |Cancel subscription|No, keep it|Display|支付方式|支付宝|支付设置|取消支付|暂不支付|待付款|已支付|支付成功
    |支付密码|付款方式
    |购买记录|充值记录|如何支付|取消订阅|不删除|取消删除|最近删除|已删除|撤销删除|删除线|恢复删除|怎样删除|未发送|已发送|发送中
    |发送失败|发布者|发布时间|取消发送|呼叫转移|稍后发送|安装包|已安装|未安装|安装时间|稍后更新|更新日志|最近更新|暂不更新|不允许
    |禁止|拒绝授权|允许的应用|授权管理|权限|返回|首页|设置
"""


def split(text: str) -> list[str]:
    return [word.strip() for word in text.split("|") if word.strip()]


@pytest.mark.parametrize("kind", Risk)
def test_labels_of_each_kind_are_recognised_in_both_languages(kind: Risk) -> None:
    labels = split(RISKY[kind])
    chinese = [label for label in labels if any("\u4e00" <= char <= "\u9fff" for char in label)]
    assert len(chinese) >= 10 and len(labels) - len(chinese) >= 10
    assert [label for label in labels if kind not in risks_of_label(label)] == []


@pytest.mark.parametrize("label", split(HARMLESS))
def test_similar_labels_without_risk_are_harmless(label: str) -> None:
    assert risks_of_label(label) == frozenset()


def page(*elements: dict) -> Page:
    """Return a screen of 100 x 200 pixels that contains the first element, which contains the others."""
    root = Element(kind="android.widget.FrameLayout", package="com.acme", bounds=(0, 0, 100, 200))
    inside = [
        Element(**{"package": "com.acme", "number": n, "parent": min(n - 1, 1)} | values)
        for n, values in enumerate(elements, 1)
    ]
    return Page((root, *inside))


ROW = {"kind": "android.view.ViewGroup", "bounds": (10, 100, 90, 120), "touchable": True}
ALL = {"kind": "android.view.ViewGroup", "bounds": (0, 0, 100, 200), "touchable": True}
BUTTON = {"kind": "android.widget.Button", "bounds": (10, 100, 90, 120), "touchable": True}
TEXT = {"kind": "android.widget.TextView", "bounds": (10, 40, 90, 60)}


def judged(*elements: dict, at: tuple[int, int] = (50, 110)) -> Judgement:
    return judge_touch(page(*elements), *at)


@pytest.mark.parametrize(
    ("elements", "risk"),
    [
        ([BUTTON | {"text": "Pay"}], Risk.PAYMENT),
        ([BUTTON | {"description": "Send"}], Risk.SENDING),
        ([BUTTON | {"resource_id": "com.acme:id/btn_pay"}], Risk.PAYMENT),
        ([BUTTON | {"resource_id": "com.acme:id/deleteButton", "text": "OK"}], Risk.DELETION),
        ([BUTTON | {"text": "Delete all of the messages and all of the pictures in them"}], Risk.DELETION),
        # the words are on a child in another place of the row, and on a child under the point
        ([ROW, TEXT | {"text": "删除", "bounds": (70, 100, 90, 120)}], Risk.DELETION),
        ([ALL, TEXT | {"text": "Install", "bounds": (40, 100, 60, 120)}], Risk.INSTALLING),
        # a transparent element on top ignores touches, so the button below it receives them
        ([BUTTON | {"text": "Allow"}, TEXT | {"bounds": (0, 0, 100, 200), "parent": 0}], Risk.PERMISSIONS),
        # a label that confirms the question of the page
        ([TEXT | {"text": "Delete this conversation?"}, BUTTON | {"text": "OK", "parent": 0}], Risk.DELETION),
        ([TEXT | {"text": "确定要支付吗？"}, BUTTON | {"text": "确定", "parent": 0}], Risk.PAYMENT),
        ([TEXT | {"text": "All data will be erased."}, BUTTON | {"text": "Continue", "parent": 0}], Risk.DELETION),
        ([BUTTON | {"text": "Next", "package": "com.google.android.permissioncontroller"}], Risk.PERMISSIONS),
        ([BUTTON | {"text": "OK", "package": "com.google.android.packageinstaller"}], Risk.INSTALLING),
        (
            [BUTTON | {"text": "OK", "package": "com.android.packageinstaller", "resource_id": "a:id/permission_x"}],
            Risk.PERMISSIONS,
        ),
    ],
)  # fmt: skip
def test_the_element_under_the_point_is_judged(elements: list[dict], risk: Risk) -> None:
    found = judged(*elements)
    assert risk in found.risks and not found.is_unreadable


@pytest.mark.parametrize(
    "elements",
    [
        [BUTTON | {"text": "Open"}],
        [BUTTON | {"text": "Next"}, BUTTON | {"text": "Pay", "bounds": (10, 130, 90, 150), "parent": 0}],
        [TEXT | {"text": "Delete this conversation?"}, BUTTON | {"text": "Cancel", "parent": 0}],
        [TEXT | {"text": "You can delete chats in the menu."}, BUTTON | {"text": "OK", "parent": 0}],
        [BUTTON | {"kind": "android.widget.EditText", "text": "Pay the rent", "resource_id": "a:id/send_text"}],
        [BUTTON | {"text": "Don’t allow", "package": "com.google.android.permissioncontroller"}],
        [BUTTON | {"text": "取消", "package": "com.google.android.packageinstaller"}],
        [BUTTON | {"text": "Later", "resource_id": "a:id/btn_pay_later"}],
        # the touchable element on top takes the touch
        [BUTTON | {"text": "Pay"}, BUTTON | {"text": "Close", "parent": 0}],
        # a large touchable page: a touch does not reach elements in other places of it
        [ALL, TEXT | {"text": "Delete"}],
        [TEXT | {"text": "Pay"}],
    ],
)
def test_untouched_or_harmless_elements_are_harmless(elements: list[dict]) -> None:
    assert judged(*elements).risks == frozenset()


@pytest.mark.parametrize(
    "element",
    [
        {"kind": "android.webkit.WebView", "bounds": (0, 50, 100, 200)},
        {"kind": "android.view.SurfaceView", "bounds": (0, 0, 100, 200)},
        {"kind": "android.view.TextureView", "bounds": (0, 0, 100, 200), "touchable": True},
        {"kind": "android.view.View", "bounds": (0, 0, 100, 200)},
    ],
)
def test_elements_that_draw_their_own_content_are_unreadable(element: dict) -> None:
    assert judged(element).is_unreadable
    assert judge_touch(None, 50, 110).is_unreadable
    assert not judged(element, TEXT | {"text": "Menu", "bounds": (0, 100, 100, 120)}).is_unreadable


def test_text_of_a_screen_is_printable_in_a_message() -> None:
    hostile = "Pay \x1b[2J\u202e\nnow \u200b" + "x" * 500
    found = judged(BUTTON | {"text": hostile})
    assert found.risks == {Risk.PAYMENT}
    assert found.reason.isprintable() and len(found.reason) < 120
