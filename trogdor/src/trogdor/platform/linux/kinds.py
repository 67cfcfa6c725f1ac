"""Linux's kinds of resources: kind of claim → ``module:Class``. Nothing is imported before it is needed."""

KINDS = {
    "nft": "trogdor.platform.linux.cut:Cut",
    "process": "trogdor.platform.linux.stop:Stop",
    "qdisc": "trogdor.platform.linux.qdisc:Qdisc",
    "queue": "trogdor.platform.linux.queue:PacketQueue",
}
