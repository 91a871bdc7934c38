"""The words of risky actions, in English and Chinese (simplified and traditional) [ours]. `risks.py` reads them.

English phrases are separated by commas. A phrase that ends in a dot must be the end of the label.
"""

from __future__ import annotations

from mobile_r1_jax.tasks.task import Risk


def _phrases(text: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(phrase.split()) for phrase in text.split(","))


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# The start of an English label, after LEADING words.
ENGLISH = {
    Risk.PAYMENT: _phrases("""
        pay, buy, purchase, repurchase, checkout, check out, order now, place order, place my order, place your order,
        submit order, confirm order, complete order, confirm payment, complete payment, make payment, make a payment,
        submit payment, confirm purchase, complete purchase, subscribe, renew, donate, top up, recharge, transfer,
        send money, send cash, withdraw, add money, book now, confirm booking, complete booking, place bid, reorder,
        start trial, start free trial, start my free trial, start your free trial, get premium, go premium, upgrade
    """),
    Risk.DELETION: _phrases("""
        delete, remove, erase, wipe, discard, purge, shred, format as, format card, format sd, format usb,
        format storage, clear data, clear storage, clear cache, clear history, clear chat, clear conversation,
        clear browsing data, clear all data, clear call log, move to trash, move to bin, move to recycle bin,
        empty trash, empty bin, empty recycle bin, factory reset, reset phone, reset device, reset tablet, reset all,
        reset app, reset network, close account, deactivate account, unsend, forget
    """),
    Risk.SENDING: _phrases("""
        send, reply, post, publish, share, submit, tweet, repost, retweet, forward to, forward message, upload,
        broadcast, invite, call, dial, video call, voice call, start call, go live, start streaming
    """),
    Risk.INSTALLING: _phrases("""
        install, reinstall, uninstall, sideload, update., updates., update all, update now, update app, update apps,
        update system, update software, update anyway, get app, get the app, download app, download the app,
        download and install, allow from this source, install unknown apps
    """),
    Risk.PERMISSIONS: _phrases("""
        allow, grant, permit, authorize, authorise, while using the app, while using this app, only this time,
        give access, give permission, enable access, turn on access, trust, activate this device admin,
        activate device admin
    """),
}
# The word after a phrase that makes it the name of something, or harmless.
ENGLISH_NAMES = {
    Risk.PAYMENT: _words("""
        attention method methods options history records tab tabs off per settings files data photos guide help policy
    """),
    Risk.DELETION: _words("filter filters formatting password"),
    Risk.SENDING: _words("""
        log logs history settings recording recordings forwarding waiting barring duration count office time status
        sheet notifications you
    """),
    Risk.INSTALLING: _words("history date log logs settings notes policy time status location center centre"),
    Risk.PERMISSIONS: _words("list lists history settings me agent score"),
}
# Words that may come before the phrase. Any other word there, such as not, undo or how, makes the label harmless.
LEADING = _words("""
    yes ok okay sure please confirm and to tap click press hold slide swipe drag double long touch agree accept continue
    review proceed go i i'd i'll want now just quick quickly securely secure instantly always only also permanently save
    sign verify next finish done the my then
""")
# Anywhere in a question of a page.
ENGLISH_ASKED = {
    Risk.PAYMENT: r"pay|paid|payment|charged?|buy|purchase|subscribe|transfer|order",
    Risk.DELETION: r"deleted?|removed?|erased?|wiped?|discard(?:ed)?|lost|format(?:ted)?|reset|trash",
    Risk.SENDING: r"send|sent|post(?:ed)?|shared?|publish(?:ed)?|submit(?:ted)?|upload(?:ed)?|call",
    Risk.INSTALLING: r"install(?:ed)?|uninstall(?:ed)?|upgrade|update",
    Risk.PERMISSIONS: r"allow|grant|permission|access",
}

# Anywhere in a Chinese label, except after CHINESE_DENIALS and before CHINESE_NAMES.
CHINESE = {
    Risk.PAYMENT: _words("""
        支付 付款 购买 購買 下单 下單 提交订单 提交訂單 确认订单 確認訂單 转账 轉賬 轉帳 充值 儲值 打赏 打賞 去付
        发红包 發紅包 塞钱进红包 塞錢進紅包 结算 結算 結帳 开通会员 開通會員 立即开通 立即開通 续费 續費 订阅 訂閱
        缴费 繳費 还款 還款 捐款 提现 提現 买单 買單 抢购 搶購 预订 預訂
    """),
    Risk.DELETION: _words("""
        删除 刪除 清空 清除 移除 抹掉 擦除 抹除 格式化 恢复出厂设置 恢復出廠設定 恢復出廠設置 重置 注销 註銷 销毁 銷毀
        丢弃 丟棄 粉碎 删掉 刪掉 移到回收站 移至回收站 移到垃圾 移至垃圾 解散
    """),
    Risk.SENDING: _words("""
        发送 發送 傳送 发布 發佈 發布 发表 發表 回复 回覆 分享 转发 轉發 提交 投稿 上传 上傳 群发 群發 邀请 邀請
        呼叫 拨打 撥打 语音通话 語音通話 视频通话 視訊通話 开始直播 開始直播 寄出
    """),
    Risk.INSTALLING: _words("安装 安裝 卸载 卸載 解除安裝 更新 升级 升級"),
    Risk.PERMISSIONS: _words("""
        允许 允許 授权 授權 授予 准许 准許 同意权限 开启权限 開啟權限 打开权限 信任 仅此一次 仅限这一次 僅限這一次
        使用时允许 仅在使用中
    """),
}
CHINESE_DENIALS = _words("""
    不 不要 未 勿 别 別 取消 无需 無需 已 待 撤销 撤銷 恢复 恢復 防 禁止 拒绝 拒絕 如何 怎么 怎麼 怎样 怎樣 最近
    稍后 稍後 以后 以後 避免 停止 正在 无法 無法 不能 关于 關於
""")
_NAMES = """
    方式 设置 設定 帮助 說明 说明 成功 失败 失敗 中 状态 狀態 教程 攻略 协议 規則 规则 结果 結果 页面 问题 問題 助手
    中心 详情
"""
CHINESE_NAMES = {
    Risk.PAYMENT: _words(f"{_NAMES} 记录 記錄 历史 歷史 宝 寶 密码 密碼 管理 渠道 功能 码 碼 号 號"),
    Risk.DELETION: _words(f"{_NAMES} 线 線 的 密码 密碼"),
    Risk.SENDING: _words(f"{_NAMES} 记录 記錄 历史 歷史 者 时间 時間 会 會 于 於 转移 轉移 等待"),
    Risk.INSTALLING: _words(f"{_NAMES} 包 时间 時間 日志 日誌 日期 于 於 内容 內容 公告 记录 記錄 来源 來源 位置"),
    Risk.PERMISSIONS: _words(f"{_NAMES} 的 列表 管理 记录 記錄"),
}
CHINESE_ASKED = _words("？ 吗 嗎 确定 確定 确认 確認 是否 将被 將被 将会 將會 无法恢复 無法恢復 不可恢复")

# Verbs in resource ids that are rarely nouns there; words of an id without a meaning; words that make it a name.
ID_VERBS = {
    Risk.PAYMENT: _phrases("pay, buy, purchase, checkout, place order, submit order"),
    Risk.DELETION: _phrases("delete, erase, remove, discard"),
    Risk.SENDING: _phrases("send, publish"),
    Risk.INSTALLING: _phrases("install, uninstall"),
    Risk.PERMISSIONS: _phrases("allow, grant"),
}
ID_WRAPPERS = _words("""
    btn button fab menu action iv img image icon tv txt text layout ll rl item view bottom container row bar root dialog
    option id permission confirm do card tile
""")
ID_NAMES = _words("count time date title list status type hint way method methods info num name label later")

# In the labels of buttons that Enter in a text field does not press, although they are risky.
NOT_BY_ENTER = _words(
    "call dial share invite upload forward 呼叫 拨打 撥打 通话 通話 分享 邀请 邀請 上传 上傳 转发 轉發"
)

# Labels that answer what the page asks; their words are joined by dashes.
CONFIRMING = _words("""
    ok okay yes confirm continue proceed accept agree got-it i-agree
    确定 確定 确认 確認 好 好的 是 是的 继续 繼續 同意
""")
DECLINING = _words("""
    cancel deny don't-allow do-not-allow no done close dismiss not-now back no-thanks decline later open
    取消 拒绝 拒絕 不允许 不允許 禁止 关闭 關閉 完成 以后再说 以後再說 暂不 暫不 返回 打开 打開 稍后 稍後 不再询问
""")
