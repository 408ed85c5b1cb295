"""The application in-process: results as the library computes them, and every refusal."""

from __future__ import annotations

import asyncio
import io
import json
import threading
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from analytic_model import draw_person, write_constant_detector, write_extractor, write_head
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.images import encode_image
from human_edge_detection.core.rle import decode_rle
from human_edge_detection.inference.predictor import MaskPredictor
from human_edge_detection.serving.app import create_app
from human_edge_detection.serving.run import ServeOptions

BOX = (20.0, 10.0, 90.0, 80.0)
IMAGE, _ = draw_person((96, 128), BOX)
PHOTO = encode_image(IMAGE, ".png")
MODEL = {"version": "0", "head": "head.onnx", "sha": "0", "provider": "CPUExecutionProvider"}
BOMB = encode_image(np.zeros((4000, 4000), np.uint8), ".png")
Call = Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_head(folder / "head.onnx")
    write_extractor(folder / "extractor.onnx")
    people = np.zeros((1, 2, 6), np.float32)
    people[0, :] = [[20, 10, 90, 80, 0.9, 0], [96, 20, 126, 90, 0.4, 0]]
    write_constant_detector(folder / "detector.onnx", {"output0": people})
    return folder


@pytest.fixture
def predictor(files: Path) -> MaskPredictor:
    detector, extractor = files / "detector.onnx", files / "extractor.onnx"
    return MaskPredictor(files / "head.onnx", extractor, detector, device="cpu", threads=1)


def ask_all(predictor: MaskPredictor, *calls: Call, **flags: Any) -> list[httpx.Response]:
    """The answers to several requests at once, of an application with such options."""
    app = create_app(predictor, ServeOptions(**{"workers": 2, **flags}), MODEL)

    async def run() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await asyncio.gather(*(call(client) for call in calls))

    return asyncio.run(run())


def post(route: str = "/v1/segment", **given: Any) -> Call:
    given = given or {"content": PHOTO}
    return lambda client: client.post(route, **given)


def get(route: str, **given: Any) -> Call:
    return lambda client: client.get(route, **given)


def head(route: str) -> Call:
    return lambda client: client.head(route)


def form(**fields: Any) -> dict[str, Any]:
    parts = {name: (None, json.dumps(value).encode()) for name, value in fields.items()}
    return {"files": {"image": ("photo.png", PHOTO), **parts}}


def ask(predictor: MaskPredictor, call: Call, **flags: Any) -> httpx.Response:
    return ask_all(predictor, call, **flags)[0]


def problem(answer: httpx.Response, status: int, reason: str) -> dict[str, Any]:
    """The body of a refusal, which must be of this kind."""
    content: dict[str, Any] = answer.json()
    assert (answer.status_code, content["reason"]) == (status, reason), content
    assert answer.headers["content-type"] == "application/problem+json"
    assert content["status"] == status and len(content["detail"]) > 10
    return content


def picture(answer: httpx.Response) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def test_body_and_form_give_the_masks_of_the_library(predictor: MaskPredictor) -> None:
    image = IMAGE
    found, given = predictor.segment(image), predictor.segment(image, boxes_xyxy=[BOX])
    corners, objects = [list(BOX)], [{"bbox": [20, 10, 70, 70], "score": 0.5}]
    answers = ask_all(
        predictor, post(), post(**form()), post(**form(boxes=corners)),
        post(**form(boxes=objects)), post(**form(boxes=corners, scores=[0.5])),
        post(**form(boxes=[])),
    )  # fmt: skip
    for answer, masks in zip(answers, [found, found, given, given, given, None], strict=True):
        assert answer.status_code == 200, answer.text
        content = answer.json()
        assert content["image"] == {"height": 96, "width": 128} and content["model"] == MODEL
        assert set(content["seconds"]) == {"decode", "extractor", "head", "paste"}
        assert answer.headers["x-people"] == str(len(content["people"]))
        assert "encode;dur=" in answer.headers["server-timing"]
        if masks is None:
            assert content["people"] == []
            continue
        masks = [decode_rle(person["segmentation"]) for person in content["people"]], masks.binary()
        np.testing.assert_array_equal(*masks)
        assert [person["area"] for person in content["people"]] == masks[1].sum((1, 2)).tolist()
    assert [p["score"] for p in answers[0].json()["people"]] == [0.9, 0.4]
    assert [answers[at].json()["people"][0]["score"] for at in (2, 3, 4)] == [1.0, 0.5, 0.5]


def test_a_form_whose_photo_has_no_file_name(predictor: MaskPredictor) -> None:
    for kind in ("multipart/form-data; boundary=x", 'Multipart/Form-Data; boundary="x"'):
        part = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
        body = part % (b"image", PHOTO) + part % (b"boxes", b"[[20, 10, 90, 80]]") + b"--x--\r\n"
        answer = ask(predictor, post(content=body, headers={"content-type": kind}))
        assert answer.status_code == 200 and len(answer.json()["people"]) == 1


def test_the_other_formats(predictor: MaskPredictor) -> None:
    masks = predictor.segment(IMAGE, boxes_xyxy=[BOX])
    given = form(boxes=[BOX])
    names = ("polygons", "labels", "overlay", "cutouts", "cutouts&person=1")
    answers = [post(f"/v1/segment?format={name}", **given) for name in names]
    polygons, labels, overlay, cutouts, cutout = ask_all(predictor, *answers)
    (person,) = polygons.json()["people"]
    assert person["box_xyxy"] == list(BOX)
    np.testing.assert_allclose(person["polygons"][0], masks.polygons()[0][0], atol=0.01)
    assert labels.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(picture(labels), masks.label_map())
    assert overlay.headers["content-type"] == "image/jpeg"
    assert picture(overlay).shape == IMAGE.shape
    np.testing.assert_array_equal(picture(cutout), masks.cutouts(IMAGE)[0])
    with zipfile.ZipFile(io.BytesIO(cutouts.content)) as archive:
        assert archive.namelist() == ["001.png"] and archive.read("001.png") == cutout.content


def test_detected_boxes_can_be_sent_as_boxes(predictor: MaskPredictor) -> None:
    found, best = ask_all(predictor, post("/v1/detect"), post("/v1/detect?score=0.5"))
    people = found.json()["people"]
    assert [person["score"] for person in people] == [0.9, 0.4]
    assert best.json()["people"] == people[:1]
    again, own = ask_all(predictor, post(**form(boxes=people)), post())
    assert again.json()["people"] == own.json()["people"]
    for given in (form(boxes=people), form(scores=[1])):
        problem(ask(predictor, post("/v1/detect", **given)), 400, "boxes")


def test_only_the_best_people_up_to_the_limit(predictor: MaskPredictor) -> None:
    masks, boxes, given = ask_all(
        predictor, post(), post("/v1/detect"), post(**form(boxes=[BOX, BOX])), max_people=1
    )
    assert len(masks.json()["people"]) == len(boxes.json()["people"]) == 1
    assert "2 boxes, more than 1" in problem(given, 400, "boxes")["detail"]


@pytest.mark.parametrize(
    ("boxes", "says"),
    [
        ([[90, 10, 20, 80]], "reversed"), ([[1, 2, 3]], "[N, 4]"), ([[1, 2, 1e300, 4]], "finite"),
        ([[1, 2, 10**400, 4]], ""), ({"a": 1}, "list"), (["a"], "boxes"), ([None], "boxes"),
        ([{"bbox": [1, 2]}], "bbox"), ([{"box": 3}], "bbox"), ([[[1, 2, 3, 4]]], "[N, 4]"),
        ([[1, 2, 3, 4], [1]], "boxes"), (7, "list"), ("x", "list"), ([{"bbox": "abcd"}], "bbox"),
    ],
)  # fmt: skip
def test_boxes_that_cannot_be_used(predictor: MaskPredictor, boxes: object, says: str) -> None:
    content = problem(ask(predictor, post(**form(boxes=boxes))), 400, "boxes")
    assert content["field"] == "boxes" and says in content["detail"] and content["value"]


@pytest.mark.parametrize("scores", [[1, 1], [2], [-0.1], ["a"], 3, {}, [None], [10**400], [[1]]])
def test_scores_that_cannot_be_used(predictor: MaskPredictor, scores: object) -> None:
    content = problem(ask(predictor, post(**form(boxes=[BOX], scores=scores))), 400, "scores")
    assert content["field"] == "scores" and "scores" in content["detail"]


def test_forms_that_cannot_be_used(predictor: MaskPredictor) -> None:
    image = ("photo.png", PHOTO)
    kind = {"content-type": "multipart/form-data; boundary=x"}
    answers = ask_all(
        predictor, post(content=b""), post(files={"boxes": (None, b"[]")}),
        post(files={"image": image, "url": (None, b"http://example.org")}),
        post(files=[("image", image), ("image", image)]),
        post(content=b"--x\r\nrubbish", headers=kind), post(content=PHOTO, headers=kind),
        post(content=PHOTO, headers={"content-type": "multipart/form-data"}),
        post(**form(scores=[1])),
        post(files={"image": image, "boxes": (None, b"[" * 100_000)}),
        post(files={"image": image, "boxes": (None, b"\xff\xfe")}),
        workers=1,
    )  # fmt: skip
    reasons = [answer.json()["reason"] for answer in answers]
    assert {answer.status_code for answer in answers} == {400}, reasons
    expected = ["no_photo", "no_photo", "form", "form", "no_photo", "form", "form", "scores"]
    assert reasons == [*expected, "boxes", "boxes"]


def test_parameters_that_cannot_be_used(predictor: MaskPredictor) -> None:
    for query in ("score=2", "threshold=x", "format=gif", "person=1", "format=cutouts&person=0"):
        answer = ask(predictor, post(f"/v1/segment?{query}"))
        assert answer.status_code == 422 and answer.json()["field"] in query
    for path in ("/v1/segment?treshold=0.3", "/v1/detect?threshold=0.3"):
        content = problem(ask(predictor, post(path)), 422, "parameter")
        assert content["field"] in path and content["value"] == "'0.3'"
    for number in (2, 99):  # the second person has no pixel
        content = problem(
            ask(predictor, post(f"/v1/segment?format=cutouts&person={number}")), 422, "person"
        )
        assert content["value"] == number


def test_what_is_no_photo_or_too_large_is_refused_before_it_is_decoded(
    predictor: MaskPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
    for data in (eps, PHOTO[:60], b"\xff\xd8\xff" + b"x" * 99, b"http://127.0.0.1/photo.png"):
        content = problem(ask(predictor, post(content=data)), 415, "not_a_photo")
        assert content["field"] == "image"
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    for limit in (1_000_000, 15_999_999):
        content = problem(ask(predictor, post(content=BOMB), max_pixels=limit), 413, "pixels")
        assert "4000x4000" in content["detail"]


def test_bodies_over_the_limit(predictor: MaskPredictor) -> None:
    async def pieces() -> Any:
        for _ in range(100):
            yield bytes(1000)

    whole, chunked = ask_all(
        predictor, post(content=bytes(100_000)), post(content=pieces()), max_mb=0.05
    )
    assert problem(whole, 413, "bytes")["value"] == 100_000
    assert problem(chunked, 413, "bytes")["value"] is None
    padded = PHOTO + bytes(50_000 - len(PHOTO))
    assert ask(predictor, post(content=padded), max_mb=0.05).status_code == 200


def test_a_model_without_detector_needs_boxes(files: Path) -> None:
    with MaskPredictor(files / "head.onnx", files / "extractor.onnx", device="cpu") as predictor:
        masks, without, boxes = ask_all(
            predictor, post(**form(boxes=[BOX])), post(), post("/v1/detect")
        )
    assert masks.status_code == 200
    problem(without, 422, "no_detector"), problem(boxes, 422, "no_detector")


def held(predictor: MaskPredictor, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Make the network wait for an event."""
    event, encode = threading.Event(), predictor.encode

    def slow(*given: Any) -> Any:
        assert event.wait(20)
        return encode(*given)

    monkeypatch.setattr(predictor, "encode", slow)
    return event


def test_a_full_server_refuses_at_once_and_health_stays(
    predictor: MaskPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = held(predictor, monkeypatch)

    async def one_more(client: httpx.AsyncClient) -> httpx.Response:
        while "in_flight 3.0" not in (await client.get("/metrics")).text:
            await asyncio.sleep(0.01)
        assert (await client.get("/healthz")).text == "ok\n"
        try:
            return await client.post("/v1/segment", content=PHOTO)
        finally:
            event.set()

    *done, refused = ask_all(predictor, *[post()] * 3, one_more, workers=2, queue=1)
    assert [answer.status_code for answer in done] == [200] * 3
    problem(refused, 503, "full")
    assert refused.headers["retry-after"] == "1"


def test_a_late_answer_is_given_up_and_its_place_is_free_with_its_thread(
    predictor: MaskPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = held(predictor, monkeypatch)

    async def later(client: httpx.AsyncClient) -> httpx.Response:
        problem(await client.post("/v1/segment", content=PHOTO), 504, "late")
        problem(await client.post("/v1/segment", content=PHOTO), 503, "full")
        event.set()
        while "in_flight 0.0" not in (await client.get("/metrics")).text:
            await asyncio.sleep(0.01)
        return await client.post("/v1/segment", content=PHOTO)

    answer = ask(predictor, later, workers=1, queue=0, seconds=0.3)
    assert answer.status_code == 200


def test_a_client_that_leaves_frees_its_place(
    predictor: MaskPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = held(predictor, monkeypatch)
    app = create_app(predictor, ServeOptions(workers=1, queue=0), MODEL)
    scope = {
        "type": "http", "method": "POST", "path": "/v1/segment", "query_string": b"",
        "headers": [], "root_path": "",
    }  # fmt: skip

    async def run() -> str:
        messages = [{"type": "http.disconnect"}, {"type": "http.request", "body": PHOTO}]

        async def receive() -> Any:
            return messages.pop()

        async def send(_: Any) -> None:
            pass

        await asyncio.wait_for(app(scope, receive, send), 5)
        event.set()
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            while "in_flight 0.0" not in (text := (await client.get("/metrics")).text):
                await asyncio.sleep(0.01)
            return text

    text = asyncio.run(run())
    assert 'requests_total{route="/v1/segment",status="499"} 1.0' in text
    assert 'refused_total{reason="gone"}' in text


def test_metrics_add_up(predictor: MaskPredictor) -> None:
    async def several(client: httpx.AsyncClient) -> httpx.Response:
        for content in (PHOTO, PHOTO, b"no photo"):
            await client.post("/v1/segment", content=content)
        return await client.get("/metrics")

    text = ask(predictor, several).text
    for line in (
        'requests_total{route="/v1/segment",status="200"} 2.0',
        'requests_total{route="/v1/segment",status="415"} 1.0',
        'refused_total{reason="not_a_photo"} 1.0', "people_sum 4.0", "in_flight 0.0",
        'stage_seconds_count{stage="head"} 2.0', 'seconds_count{route="/v1/segment"} 3.0',
        "process_resident_memory_bytes", 'sha="0"',
    ):  # fmt: skip
        assert line in text, line


def test_health_documents_and_page(predictor: MaskPredictor, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("the page")
    (tmp_path / "manifest.webmanifest").write_text("{}")
    health, ready, docs, schema, page, manifest, wrong, none = ask_all(
        predictor, *map(get, ("/healthz", "/readyz", "/docs", "/openapi.json", "/",
        "/manifest.webmanifest", "/v1/segment", "/v2")), page=tmp_path,
    )  # fmt: skip
    assert health.status_code == 200 and ready.json() == MODEL
    assert "http://" not in docs.text and "https://" not in docs.text
    assert set(schema.json()["paths"]) == {
        "/v1/segment", "/v1/detect", "/healthz", "/readyz", "/metrics"
    }  # fmt: skip
    assert page.text == "the page"
    assert manifest.headers["content-type"] == "application/manifest+json"
    assert (wrong.status_code, none.status_code) == (405, 404)
    assert wrong.headers["allow"] == "POST" and "POST" in problem(wrong, 405, "http")["detail"]
    assert none.headers["content-type"] == "application/problem+json"
    assert ask(predictor, get("/static-offline-docs/swagger-ui-bundle.js")).status_code == 200
    heads = ask_all(predictor, *(head(f"/{name}") for name in ("healthz", "readyz", "metrics")))
    assert [(one.status_code, one.content) for one in heads] == [(200, b"")] * 3


def test_the_pages_policy_is_a_header_of_all_its_files(
    predictor: MaskPredictor, tmp_path: Path
) -> None:
    policy = "default-src 'none'; connect-src 'self'"
    tag = f'<meta\n http-equiv="Content-Security-Policy"\n content="{policy}" />'
    (tmp_path / "index.html").write_text(tag)
    (tmp_path / "worker.js").write_text("")
    name = "content-security-policy"
    page, worker, health = ask_all(
        predictor, *map(get, ("/", "/worker.js", "/healthz")), page=tmp_path
    )
    assert page.headers[name] == worker.headers[name] == policy
    assert name not in health.headers
    known = get("/worker.js", headers={"if-none-match": worker.headers["etag"]})
    same = ask(predictor, known, page=tmp_path)
    assert (same.status_code, same.headers[name]) == (304, policy)
    (tmp_path / "index.html").write_text("no policy")
    assert name not in ask(predictor, get("/worker.js"), page=tmp_path).headers


def test_without_a_page_the_server_says_how_to_build_it(
    predictor: MaskPredictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PACKAGED_PAGE", "BUILT_PAGE"):
        monkeypatch.setattr(f"human_edge_detection.inference.web_page.{name}", tmp_path)
    page, wrong = ask_all(predictor, get("/"), get("/v1/segment"))
    assert "npm run build" in page.text
    problem(wrong, 405, "http")


def test_other_origins_may_ask_only_if_they_are_named(predictor: MaskPredictor) -> None:
    name, header = "https://example.org", "access-control-allow-origin"
    call = post(content=PHOTO, headers={"origin": name})
    assert header not in ask(predictor, call).headers
    assert ask(predictor, call, cors=(name,)).headers[header] == name
    assert header not in ask(predictor, call, cors=("https://example.com",)).headers


def test_an_unknown_fault_is_a_problem_too(
    predictor: MaskPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "encode", lambda *_: 1 / 0)

    async def fail(client: httpx.AsyncClient) -> httpx.Response:
        content = problem(await client.post("/v1/segment", content=PHOTO), 500, "fault")
        assert "division" not in content["detail"]
        return await client.get("/metrics")

    text = ask(predictor, fail).text
    assert 'requests_total{route="/v1/segment",status="500"} 1.0' in text
    assert 'refused_total{reason="fault"} 1.0' in text


def test_a_server_that_stops_is_alive_and_not_ready(predictor: MaskPredictor) -> None:
    app = create_app(predictor, ServeOptions(), MODEL, is_stopping=lambda: True)

    async def run() -> tuple[httpx.Response, httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.get("/readyz"), await client.get("/healthz")

    ready, health = asyncio.run(run())
    problem(ready, 503, "stopping")
    assert ready.headers["retry-after"] == "1" and health.status_code == 200


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"port": 70000}, "--port"), ({"port": -1}, "--port"), ({"workers": 0}, "--workers"),
        ({"queue": -1}, "--queue"), ({"max_mb": 0}, "--max_mb"), ({"threads": 0}, "--threads"),
        ({"page": Path("nowhere")}, "--page nowhere"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_used(flags: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        ServeOptions(**flags)
    assert ServeOptions().host == "127.0.0.1" and ServeOptions().cors == ()
