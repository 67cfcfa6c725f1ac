"""Linux's kinds of resources: kind of claim → ``module:Class``. Nothing is imported before it is needed."""

KINDS = {
    "freezer": "trogdor.platform.linux.freezer:Freezer",
    "kibosh": "trogdor.platform.linux.kibosh:Kibosh",
    "kibosh-c": "trogdor.platform.linux.kibosh:OriginalKibosh",
    "kill": "trogdor.platform.linux.kill:Kill",
    "nft": "trogdor.platform.linux.cut:Cut",
    "process": "trogdor.platform.linux.stop:Stop",
    "qdisc": "trogdor.platform.linux.qdisc:Qdisc",
    "queue": "trogdor.platform.linux.queue:PacketQueue",
}
