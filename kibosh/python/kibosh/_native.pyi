def serve(
    target: str,
    mountpoint: str,
    *,
    coherent: bool,
    allow_other: bool,
    options: list[str],
    control_mode: int,
    seed: int,
    log: str | None,
    verbose: bool,
    ready_fd: int,
) -> None: ...
