"""The packages of common apps by their English and Chinese names. No command of Android lists the labels of apps."""

from __future__ import annotations

import unicodedata

# Names, separated by |, and the packages that an app of these names can have, best first.
_APPS = """
12306|铁路12306|Railway 12306: com.MobileTicket
Alipay|支付宝: com.eg.android.AlipayGphone
Amap|Gaode Maps|高德地图: com.autonavi.minimap
Amazon|Amazon Shopping|亚马逊: com.amazon.mShop.android.shopping
Baidu|百度: com.baidu.searchbox
Baidu Maps|百度地图: com.baidu.BaiduMap
Baidu Netdisk|百度网盘: com.baidu.netdisk
bilibili|哔哩哔哩|B站: tv.danmaku.bili
Booking|Booking.com: com.booking
Calculator|计算器: com.google.android.calculator com.android.calculator2 com.miui.calculator
Calendar|日历: com.google.android.calendar com.android.calendar com.samsung.android.calendar
Camera|相机: com.android.camera2 com.android.camera com.google.android.GoogleCamera com.sec.android.app.camera
Chrome|Google Chrome|谷歌浏览器: com.android.chrome
Clock|时钟|闹钟: com.google.android.deskclock com.android.deskclock com.sec.android.app.clockpackage
Contacts|联系人|通讯录: com.google.android.contacts com.android.contacts com.samsung.android.app.contacts
Ctrip|Trip.com|携程|携程旅行: ctrip.android.view
Dewu|Poizon|得物: com.shizhuang.duapp
Dianping|大众点评: com.dianping.v1
DiDi|滴滴|滴滴出行: com.sdu.didi.psnger
DingTalk|钉钉: com.alibaba.android.rimet
Discord: com.discord
Douban|豆瓣: com.douban.frodo
Douyin|抖音: com.ss.android.ugc.aweme
Drive|Google Drive|云端硬盘: com.google.android.apps.docs
Duolingo|多邻国: com.duolingo
Edge|Microsoft Edge: com.microsoft.emmx
Eleme|Ele.me|饿了么: me.ele
Facebook: com.facebook.katana
Feishu|Lark|飞书: com.ss.android.lark com.larksuite.suite
Files|文件|文件管理: com.google.android.apps.nbu.files com.google.android.documentsui com.android.documentsui
Firefox|火狐浏览器: org.mozilla.firefox
Fliggy|飞猪|飞猪旅行: com.taobao.trip
Gallery|图库|相册: com.android.gallery3d com.miui.gallery com.sec.android.gallery3d
Gmail: com.google.android.gm
Google|谷歌: com.google.android.googlequicksearchbox
Google Play|Google Play Store|Play Store|应用商店: com.android.vending
Hema|Freshippo|盒马: com.wudaokou.hippo
Instagram: com.instagram.android
iQIYI|爱奇艺: com.qiyi.video
JD|JD.com|京东: com.jingdong.app.mall
Keep: com.gotokeep.keep
Keep Notes|Google Keep|Notes: com.google.android.keep
Kuaishou|快手: com.smile.gifmaker
LinkedIn|领英: com.linkedin.android
Maps|Google Maps|谷歌地图: com.google.android.apps.maps
Mango TV|芒果TV: com.hunantv.imgo.activity
Meituan|美团: com.sankuai.meituan
Messages|短信: com.google.android.apps.messaging com.android.messaging com.android.mms com.samsung.android.messaging
Messenger|Facebook Messenger: com.facebook.orca
NetEase Cloud Music|网易云音乐: com.netease.cloudmusic
Netflix|奈飞: com.netflix.mediaclient
Outlook|Microsoft Outlook: com.microsoft.office.outlook
PayPal: com.paypal.android.p2pmobile
Phone|Dialer|电话|拨号: com.google.android.dialer com.android.dialer com.samsung.android.dialer
Photos|Google Photos|照片: com.google.android.apps.photos
Pinduoduo|拼多多: com.xunmeng.pinduoduo
QQ: com.tencent.mobileqq
QQ Browser|QQ浏览器: com.tencent.mtt
QQ Mail|QQ邮箱: com.tencent.androidqqmail
QQ Music|QQ音乐: com.tencent.qqmusic
Quark|夸克: com.quark.browser
Reddit: com.reddit.frontpage
Settings|设置: com.android.settings
Skype: com.skype.raider
Snapchat: com.snapchat.android
Spotify: com.spotify.music
Taobao|淘宝: com.taobao.taobao
Telegram: org.telegram.messenger
Temu: com.einnovation.temu
Tencent Maps|腾讯地图: com.tencent.map
Tencent Meeting|腾讯会议: com.tencent.wemeet.app
Tencent Video|腾讯视频: com.tencent.qqlive
TikTok: com.zhiliaoapp.musically com.ss.android.ugc.trill
Tomato Novel|番茄小说: com.dragon.read
Toutiao|今日头条: com.ss.android.article.news
Twitter|X|推特: com.twitter.android
Uber|优步: com.ubercab
UC Browser|UC浏览器: com.UCMobile com.UCMobile.intl
Vipshop|唯品会: com.achievo.vipshop
WeChat|微信: com.tencent.mm
WeCom|WeChat Work|企业微信: com.tencent.wework
Weibo|微博: com.sina.weibo
WhatsApp: com.whatsapp
WPS|WPS Office: cn.wps.moffice_eng
Xianyu|闲鱼: com.taobao.idlefish
Xiaohongshu|RedNote|小红书: com.xingin.xhs
Ximalaya|喜马拉雅: com.ximalaya.ting.android
Youku|优酷|优酷视频: com.youku.phone
YouTube|油管: com.google.android.youtube
YouTube Music: com.google.android.apps.youtube.music
Zhihu|知乎: com.zhihu.android
Zoom: us.zoom.videomeetings
"""


def plain_name(name: str) -> str:
    """Return a name for comparison: without case, width of letters, and blanks at its ends or in a row."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


APP_PACKAGES: dict[str, tuple[str, ...]] = {
    plain_name(name): tuple(packages.split())
    for names, packages in (line.rsplit(": ", 1) for line in _APPS.strip().splitlines())
    for name in names.split("|")
}
"""Plain name -> packages."""


def names_of_app(name: str) -> set[str]:
    """Return all plain names of the app that has this plain name: a phone may show it in another language."""
    packages = APP_PACKAGES.get(name)
    return {name} | {other for other, its in APP_PACKAGES.items() if its == packages}
