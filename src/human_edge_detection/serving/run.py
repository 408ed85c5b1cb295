"""The command ``serve``: its options, and the server from start to the last answer."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from human_edge_detection.core import usable_cpus, version_text
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.options import option, option_of, require_least
from human_edge_detection.inference.options import PredictOptions

if TYPE_CHECKING:
    from human_edge_detection.inference.predictor import MaskPredictor


@dataclass(frozen=True)
class ServeOptions:
    """The options of ``serve``."""

    host: str = option("127.0.0.1", "address to listen on; 0.0.0.0 lets other machines in")
    port: int = option(8000, "port to listen on; 0 for a free one", least=0)
    model: tuple[Path, ...] = option_of(PredictOptions, "model")
    extractor: tuple[str, ...] = option_of(PredictOptions, "extractor")
    detector: Path | None = option_of(PredictOptions, "detector")
    detector_layout: str = option_of(PredictOptions, "detector_layout")
    person_class: int | None = option(None, "class of people in the detector")
    fuse: str = option_of(PredictOptions, "fuse")
    device: str = option_of(PredictOptions, "device")
    max_rois: int | None = option_of(PredictOptions, "max_rois")
    image_size: int | None = option_of(PredictOptions, "image_size")
    workers: int | None = option(None, "photos at once (default: one for each CPU)", least=1)
    threads: int = option(
        1, "CPU threads of the networks for one photo; more answer sooner, but fewer", least=1
    )
    queue: int = option(16, "requests that may wait for a worker; one more gets 503", least=0)
    max_mb: float = option(20.0, "largest request in MB", least=0.001)
    max_pixels: int = option(
        50_000_000, "largest photo in pixels, checked before it is decoded", least=1
    )
    max_people: int = option(
        300, "most people of a photo: boxes given, or best ones found", least=1
    )
    seconds: float = option(30.0, "longest time for an answer, waiting included", least=0.001)
    body_seconds: float = option(10.0, "longest time for a request to arrive", least=0.001)
    cors: tuple[str, ...] = option(
        (), "web origins whose pages may ask, such as https://example.org (default: none)"
    )
    page: Path | None = option(
        None, "folder of the page (default: the one in the package, or web/dist of a checkout)"
    )

    def __post_init__(self) -> None:
        require_least(self)
        if self.port > 65535:
            raise InputError(f"--port must be at most 65535, but got {self.port}")
        if self.page is not None and not (self.page / "index.html").is_file():
            raise InputError(f"--page {self.page} has no index.html: build it (docs/web.md)")

    @property
    def at_once(self) -> int:
        """Photos that are worked on at once."""
        return self.workers or usable_cpus()


def open_predictor(options: ServeOptions) -> tuple[MaskPredictor, dict[str, str]]:
    """The model, run once so that the first request is as quick as any, and what it is.

    Raises:
        InputError: a file is missing, damaged or does not fit the others.
    """
    import numpy as np

    from human_edge_detection.inference.predictor import MaskPredictor
    from human_edge_detection.runtime.model_files import name_files
    from human_edge_detection.runtime.onnx_graph import read_model, short_hash
    from human_edge_detection.runtime.sessions import SessionOptions

    extractors = [None if name == "none" else Path(name) for name in options.extractor]
    files = name_files(
        options.model, extractors, options.detector, options.detector_layout,
        options.person_class, SessionOptions(options.device),
    )  # fmt: skip
    predictor = MaskPredictor(
        files, device=options.device, max_rois=options.max_rois, fuse=options.fuse,
        threads=options.threads, image_size=options.image_size,
    )  # fmt: skip
    grey = np.full((64, 64, 3), 128, np.uint8)
    predictor.segment(grey, boxes_xyxy=[[8, 8, 56, 56]]).label_map()
    facts = {
        "version": version_text().partition(" ")[2],
        "head": ", ".join(path.name for path in files.heads),
        "sha": ", ".join(short_hash(read_model(path)) for path in files.heads),
        "provider": predictor.provider,
    }
    return predictor, facts


def run_serve(options: ServeOptions) -> int:
    """Serve until SIGTERM or Ctrl-C, finish what was accepted, and return 0.

    Raises:
        InputError: the model cannot be opened.
    """
    import uvicorn

    from human_edge_detection.serving.app import create_app

    predictor, facts = open_predictor(options)
    with predictor:
        app = create_app(predictor, options, facts, lambda: server.should_exit)
        # httptools, which uvicorn would take if it is installed, keeps headers without end and
        # loses bodies sent with Upgrade: h2c, as Java's HttpClient does.
        config = uvicorn.Config(
            app, options.host, options.port, http="h11", ws="none", log_config=None,
            server_header=False,
            timeout_graceful_shutdown=int(options.seconds + options.body_seconds) + 5,
        )  # fmt: skip
        server = uvicorn.Server(config)
        # Uvicorn raises the signal again when everything is answered.
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGINT, lambda *_: None)
        server.run()
    return 0
