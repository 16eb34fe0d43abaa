"""Requests that abuse HTTP, each with its documented answer."""

import string
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.server.raw_http import BOUNDARY, Piece, chunked, form, joined, part, request

ENHANCE = "/v1/audio/enhancements"
JOBS = "/v1/jobs"
NO_JOB = f"{JOBS}/job_{'0' * 24}"
SYNC_LIMIT_BYTES = 400_000
IDLE_LIMIT_S = 1.0


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys a request may carry."""

    alice: str
    bob: str
    admin: str


Sent = bytes | Iterable[Piece]


@dataclass(frozen=True, slots=True)
class HttpCase:
    """A named request with its documented answer.

    Attributes:
        name: Unique name.
        send: Makes the bytes on the wire.
        statuses: Answers that are right; 0 is a closed connection without one.
        code: Code of the problem, empty where it is not looked at.
        is_outside: Answered by the HTTP parser before the application sees it.
        method: What the answer is read for.
    """

    name: str
    send: Callable[[Keys], Sent]
    statuses: frozenset[int]
    code: str = ""
    is_outside: bool = False
    method: str = "POST"


HTTP_CASES: dict[str, HttpCase] = {}


def add(name: str, send: Callable[[Keys], Sent], *statuses: int, **more: object) -> None:
    """Register one case."""
    if name in HTTP_CASES:
        raise ValueError(f"case {name} is there twice")
    HTTP_CASES[name] = HttpCase(name, send, frozenset(statuses), **more)  # type: ignore[arg-type]


def get(name: str, path: str, *statuses: int, code: str = "", **headers: str) -> None:
    """Register a GET with alice's key."""
    pairs = [(key.replace("_", "-"), value) for key, value in headers.items()]
    add(name, lambda k: request("GET", path, headers=pairs, key=k.alice), *statuses,
         code=code, method="GET")  # fmt: skip


def post(name: str, body: bytes, *statuses: int, code: str = "invalid_request",
          path: str = ENHANCE, **headers: str) -> None:  # fmt: skip
    """Register a POST of a form with alice's key."""
    pairs = [(key.replace("_", "-"), value) for key, value in headers.items()]
    add(name, lambda k: request("POST", path, body, pairs, k.alice), *statuses, code=code)


def raw(name: str, sent: bytes | list[Piece], *statuses: int) -> None:
    """Register bytes that need not be a request."""
    add(name, lambda _: sent, *statuses, is_outside=True)


# --- who asks ----------------------------------------------------------------------------------
def _with(*headers: tuple[str, str]) -> Callable[[Keys], bytes]:
    return lambda _: request("GET", JOBS, headers=headers)


for _name, _headers in (
    ("no_key", ()),
    ("wrong_key", (("Authorization", "Bearer avse_wrong"),)),
    ("empty_key", (("Authorization", "Bearer "),)),
    ("basic_instead_of_bearer", (("Authorization", "Basic YTpi"),)),
    ("only_the_word_bearer", (("Authorization", "Bearer"),)),
    ("key_with_sql", (("X-API-Key", "' OR 1=1 --"),)),
    ("key_not_ascii", (("X-API-Key", "\xe9\xff"),)),
    ("key_of_20_kb", (("X-API-Key", "k" * 20_000),)),
    ("two_authorizations", (("Authorization", "Bearer a"), ("Authorization", "Bearer b"))),
    ("cookie_instead_of_key", (("Cookie", "key=a"),)),
):
    add(f"auth_{_name}", _with(*_headers), 401, code="unauthenticated", method="GET")
add("auth_key_in_the_address", lambda k: request("GET", f"{JOBS}?key={k.alice}"), 401,
     code="unauthenticated", method="GET")  # fmt: skip
add("auth_load_without_scope", lambda k: request("POST", "/v1/models/avse-mmtm/load", key=k.alice),
     403, code="forbidden")  # fmt: skip
add("auth_upload_without_key", lambda _: request("POST", ENHANCE, form()), 401,
     code="unauthenticated")  # fmt: skip

# --- fields ------------------------------------------------------------------------------------
for _name, _fields in (
    ("strength_nan", {"strength": "nan"}),
    ("strength_inf", {"strength": "inf"}),
    ("strength_1e400", {"strength": "1e400"}),
    ("strength_2", {"strength": "2"}),
    ("strength_below_zero", {"strength": "-0.001"}),
    ("strength_empty", {"strength": ""}),
    ("strength_words", {"strength": "very"}),
    ("strength_of_4000_digits", {"strength": "9" * 4000}),
    ("mode_unknown", {"mode": "magic"}),
    ("mode_upper_case", {"mode": "AUTO"}),
    ("face_unknown", {"face": "mine"}),
    ("face_all", {"face": "all"}),
    ("face_nan", {"face": "nan,1,2,3@4"}),
    ("face_huge", {"face": "1,2,3,999999999@1"}),
    ("face_of_4000_digits", {"face": "1" * 4000}),
    ("output_unknown", {"output": "exe"}),
    ("output_path", {"output": "../../etc/passwd"}),
    ("rate_zero", {"sample_rate": "0"}),
    ("rate_huge", {"sample_rate": "1" + "0" * 30}),
    ("track_below_zero", {"audio_track": "-1"}),
    ("track_huge", {"audio_track": "9" * 40}),
    ("track_broken", {"audio_track": "1.5"}),
    ("start_nan", {"start": "nan"}),
    ("start_below_zero", {"start": "-1"}),
    ("start_huge", {"start": "1e300"}),
    ("end_before_start", {"start": "5", "end": "4"}),
    ("end_inf", {"end": "inf"}),
):
    post(f"field_{_name}", form(**_fields), 422)
post("field_unknown", form(nosuch="1"), 400)
post("field_named_like_a_method", form(__class__="1"), 400)
post("field_with_zero_byte", form(mode="auto\0"), 400)
post("field_not_utf8", joined([part("mode", b"\xff\xfe"), part("file", b"x", "a")]), 400)
post("field_twice", joined([part("mode", "auto"), part("mode", "av"), part("file", b"x", "a")]),
      400)  # fmt: skip
post("field_of_5_kb", form(model="m" * 5_000), 413, code="payload_too_large")
post("fields_21", joined([*(part(f"f{n}", "x") for n in range(21)), part("file", b"x", "a")]), 400)
post("fields_10000", joined([part(f"f{n}", "x") for n in range(5_000)]), 400)
post("field_name_of_3_kb", joined([part("n" * 3_000, "x"), part("file", b"x", "a")]), 400)
post("model_unknown", form(model="gpt-9"), 404, code="model_not_found")
post("model_path", form(model="../../../etc/passwd"), 404, code="model_not_found")
post("model_of_detector", form(model="face-detector"), 404, code="model_not_found")
post("file_missing", joined([part("mode", "auto")]), 400)
post("file_as_text", joined([part("file", "x")]), 400)
post("file_twice", joined([part("file", b"x", "a"), part("file", b"y", "b")]), 400)
post("file_empty", form(b""), 422, code="undecodable")
post("file_unknown", joined([part("file", b"x", "a"), part("other", b"x", "b")]), 400)
post("job_kind_unknown", form(kind="mining"), 422, path=JOBS)
post("job_kind_of_a_head", form(kind="gestures"), 404, path=JOBS, code="head_not_configured")
post("job_metadata_no_json", form(metadata="{"), 422, path=JOBS)
post("job_metadata_list", form(metadata="[1]"), 422, path=JOBS)
post("job_metadata_deep", form(metadata="[" * 4_000), 422, path=JOBS)
post("job_metadata_deep_object", form(metadata='{"a":' * 800), 422, path=JOBS)
post("job_metadata_nan", form(metadata='{"a":NaN}'), 422, path=JOBS)
post("job_metadata_lone_surrogate", form(metadata='{"a":"\\ud800"}'), 422, path=JOBS)
post("job_webhook_private", form(webhook_url="http://127.0.0.1:1/"), 400, path=JOBS)
post("job_webhook_file", form(webhook_url="file:///etc/passwd"), 400, path=JOBS)
post("job_idempotency_key_empty", form(), 400, 422, path=JOBS, Idempotency_Key="")
post("job_idempotency_key_long", form(), 400, 422, path=JOBS, Idempotency_Key="k" * 300)
post("job_idempotency_key_tab", form(), 400, 422, path=JOBS, Idempotency_Key="a\tb")
post("evaluation_without_estimate", joined([part("reference", b"x", "a")]), 400,
      path="/v1/evaluations")  # fmt: skip
post("faces_thumbnails_unknown", form(thumbnails="1"), 422, path="/v1/faces")

# --- multipart ---------------------------------------------------------------------------------
_TYPE = "multipart/form-data"
post("multipart_no_boundary", form(), 400, Content_Type=_TYPE)
post("multipart_empty_boundary", form(), 400, Content_Type=f"{_TYPE}; boundary=")
post("multipart_other_boundary", form(), 400, Content_Type=f"{_TYPE}; boundary=xyz")
post("multipart_boundary_of_10_kb", form(), 400, Content_Type=f"{_TYPE}; boundary={'b' * 10_000}")
post("multipart_boundary_not_ascii", form(), 400, Content_Type=f"{_TYPE}; boundary=\xe9")
post("multipart_two_boundaries", form(), 400, 200, code="",
      Content_Type=f"{_TYPE}; boundary=a; boundary={BOUNDARY.decode()}")  # fmt: skip
post("type_json", b'{"file": "x"}', 415, Content_Type="application/json")
post("type_urlencoded", b"file=x", 415, Content_Type="application/x-www-form-urlencoded")
post("type_media", b"RIFF", 415, Content_Type="audio/wav")
post("type_empty", form(), 415, Content_Type="")
post("type_nonsense", form(), 415, Content_Type=";;;=,")
post("multipart_no_body", b"", 400)
post("multipart_only_the_end", b"--" + BOUNDARY + b"--\r\n", 400)
post("multipart_no_end", form()[:-20], 400)
post("multipart_no_part_end", form().split(b"\r\n--")[0], 400)
post("multipart_part_without_name",
      joined([b"Content-Disposition: form-data\r\n\r\nx"]), 400)  # fmt: skip
post("multipart_part_without_headers", joined([b"\r\n\r\nx"]), 400)
post("multipart_disposition_nonsense", joined([b"Content-Disposition: ;;;=\r\n\r\nx"]), 400)
post("multipart_header_of_100_kb", joined([b"X-A: " + b"a" * 100_000 + b"\r\n\r\nx"]), 400)
post("multipart_1000_headers", joined([b"X-A: a\r\n" * 1_000 + b"\r\nx"]), 400)
post("multipart_noise", bytes(range(256)) * 40, 400)
post("multipart_words_before_and_after", b"hello\r\n" + form() + b"bye\r\n" * 50, 200, 400, code="")
post("multipart_100_kb_after_the_end", form() + b"x" * 100_000, 200, 400, code="")
post("multipart_gzip", form(), 200, 400, 415, code="", Content_Encoding="gzip")
post("file_too_large", form(b"x" * (SYNC_LIMIT_BYTES + 1)), 413, code="payload_too_large")

for _index, _file_name in enumerate((
    "../../../etc/passwd", "C:\\\\boot.ini", "a\\0b.wav", "", ".", "..", "con", "-rf", "a" * 3_000,
    "\u202egnp.vaw", "%2e%2e%2fx", "$(touch x).wav", "`id`", "a;b|c&d", "\ud800.wav".encode(
        "utf-8", "surrogatepass").decode("utf-8", "surrogateescape"), "\U0001f600.mp4",
    "a%0d%0aSet-Cookie: b=c", "<script>.wav", "' OR 1=1", "input", "jobs.sqlite3",
)):  # fmt: skip
    post(f"file_name_{_index}", form(file_name=_file_name), 200, code="")
post("file_name_with_header_inside",
      joined([b'Content-Disposition: form-data; name="file"; filename="a"\r\nX-B: c"\r\n\r\nx']),
      200, 400, code="")  # fmt: skip
post("file_name_star",
      joined([b"Content-Disposition: form-data; name=\"file\"; filename*=utf-8''%e2%82%ac%ff\r\n"
              b"\r\nx"]), 200, 400, code="")  # fmt: skip


# --- how the body comes ------------------------------------------------------------------------
def _chunks(body: bytes, *headers: tuple[str, str]) -> Callable[[Keys], bytes]:
    given = (("Transfer-Encoding", "chunked"), *headers)
    return lambda k: request("POST", ENHANCE, chunked(body), given, k.alice)


add("chunked_good", _chunks(form()), 200)
add("chunked_over_the_limit", _chunks(form(b"x" * (SYNC_LIMIT_BYTES + 200_000))), 413,
     code="payload_too_large")  # fmt: skip
add("chunked_preamble_over_the_limit",
     _chunks(b"x" * (SYNC_LIMIT_BYTES + 600_000) + form()), 413, 400)  # fmt: skip
add("chunked_epilogue_over_the_limit",
     _chunks(form() + b"x" * (SYNC_LIMIT_BYTES + 600_000)), 413)  # fmt: skip
add("length_over_the_limit", lambda k: request(
    "POST", ENHANCE, b"", [("Content-Length", "99999999999")], k.alice), 413,
    code="payload_too_large")  # fmt: skip
add("length_beyond_numbers", lambda k: request(
    "POST", ENHANCE, b"", [("Content-Length", "9" * 19)], k.alice), 413,
    code="payload_too_large")  # fmt: skip
add("length_too_small", lambda k: request(
    "POST", ENHANCE, form(), [("Content-Length", "40")], k.alice), 400)  # fmt: skip
add("length_too_large_then_silence", lambda k: [request(
    "POST", ENHANCE, form(), [("Content-Length", str(len(form()) + 50))], k.alice)],
    200, 400, 408)  # fmt: skip
add("body_stops", lambda k: [request("POST", ENHANCE, form(b"x" * 1000), key=k.alice)[:-500]],
     408, code="invalid_request")  # fmt: skip
add("body_never_comes", lambda k: [request(
    "POST", ENHANCE, b"", [("Content-Length", "1000")], k.alice)], 408)  # fmt: skip
add("expect_continue", lambda k: request(
    "POST", ENHANCE, form(), [("Expect", "100-continue")], k.alice), 200)  # fmt: skip
raw(
    "chunk_size_nonsense",
    b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    400,
    401,
)
raw("length_below_zero", b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n", 400)
raw("length_words", b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nContent-Length: many\r\n\r\n", 400)
raw("two_lengths", b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
       b"Content-Length: 6\r\n\r\nhello", 400)  # fmt: skip
raw("length_and_chunked", b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
       b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, 401)  # fmt: skip
raw("encoding_unknown", b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: zip\r\n\r\n",
       400, 501)  # fmt: skip

# --- addresses and methods ---------------------------------------------------------------------
for _name, _path in (
    ("unknown", "/v1/nothing"),
    ("up", "/web/../../etc/passwd"),
    ("up_encoded", "/web/%2e%2e/%2e%2e/etc/passwd"),
    ("up_twice_encoded", "/web/%252e%252e/etc/passwd"),
    ("backslash", "/web/..%5c..%5cetc"),
    ("zero_byte", "/web/a%00.js"),
    ("not_utf8", "/web/%ff%fe"),
    ("deep", "/a" * 10_000),
    ("double_slash", "//v1//jobs"),
    ("hidden", "/.git/config"),
    ("database", "/jobs.sqlite3"),
    ("job_dots", f"{JOBS}/.."),
    ("job_sql", f"{JOBS}/'%20OR%201=1"),
    ("job_unknown", NO_JOB),
    ("job_zero_byte", f"{NO_JOB}%00"),
    ("job_not_utf8", f"{JOBS}/%ed%a0%80"),
    ("job_slash", f"{NO_JOB}%2f..%2f"),
    ("content_of_unknown", f"{NO_JOB}/content"),
    ("events_of_unknown", f"{NO_JOB}/events"),
    ("after_unknown", f"{JOBS}?after=job_1"),
):
    get(f"path_{_name}", _path, 404, code="not_found")
get("path_model_unknown", "/v1/models/none", 404, code="model_not_found")
get("path_model_up", "/v1/models/..%2f..%2fetc", 404)
get("path_job_of_300", f"{JOBS}/{'a' * 300}", 404, code="not_found")
get("path_model_of_300", f"/v1/models/{'a' * 300}", 404, code="model_not_found")
get("query_variant_path", f"{NO_JOB}/content?variant=../input", 422, code="invalid_request")
for _name, _query in (
    ("limit_zero", "limit=0"), ("limit_below_zero", "limit=-1"), ("limit_huge", "limit=1e9"),
    ("limit_nan", "limit=nan"), ("limit_of_5000_digits", "limit=" + "9" * 5_000),
    ("status_unknown", "status=done"), ("kind_unknown", "kind=%00"),
    ("after_of_300", "after=" + "a" * 300),
):  # fmt: skip
    get(f"query_{_name}", f"{JOBS}?{_query}", 422, code="invalid_request")
get("query_unknown", f"{JOBS}?nosuch=1&nosuch=2", 200)
get("query_limit_twice", f"{JOBS}?limit=1&limit=nan", 200, 422)
get("prefer_nonsense", NO_JOB, 404, Prefer='wait=nan, wait=1e999, ;;=,,respond-async="')
for _method, _path in (("GET", ENHANCE), ("PUT", JOBS), ("DELETE", "/v1/models"), ("PATCH", NO_JOB),
                       ("POST", "/metrics"), ("TRACE", JOBS), ("OPTIONS", ENHANCE),
                       ("BREW", JOBS), ("POST", "/openapi.json")):  # fmt: skip
    add(f"method_{_method}_{_path.strip('/').replace('/', '_')}",
         lambda k, m=_method, p=_path: request(m, p, key=k.alice), 405)  # fmt: skip
add("method_HEAD", lambda k: request("HEAD", ENHANCE, key=k.alice), 405, method="HEAD",
     is_outside=True)  # fmt: skip
add("websocket", lambda k: request("GET", JOBS, headers=[
    ("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")], key=k.alice),
    200, 400, 403, 426, is_outside=True, method="GET")  # fmt: skip

# --- headers -----------------------------------------------------------------------------------
get("header_200_of_them", JOBS, 200, **{f"X_{n}": "a" for n in range(200)})
get("header_evil_request_id", JOBS, 200, X_Request_Id="a<script>b" + "c" * 300)
get("header_host_evil", JOBS, 200, 400, Host="evil.example:99999")
for _index, _host in enumerate(("[", "a b", "[::1", "\xff", "a:b:c", "", "%", "http://a/")):
    get(f"header_host_{_index}", NO_JOB, 404, 400, Host=_host)
get("header_forwarded", JOBS, 200, X_Forwarded_For="1.2.3.4', --", X_Forwarded_Host="evil")
get("header_accept_nothing", JOBS, 200, Accept="image/png;q=0")
get("header_range_on_a_list", JOBS, 200, Range="bytes=0-1")
get("header_if_nonsense", JOBS, 200, If_None_Match="*", If_Modified_Since="yesterday")
for _index, _id in enumerate(("-1", "abc", "", "9" * 30, "9" * 5_000, "1.5", "\xb2", "0x10")):
    get(f"header_last_event_id_{_index}", f"{NO_JOB}/events", 404, Last_Event_ID=_id)
raw("header_zero_byte", b"GET /v1/jobs HTTP/1.1\r\nHost: a\r\nX-A: a\0b\r\n\r\n", 400)
raw("header_without_name", b"GET /v1/jobs HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400)
raw("header_folded", b"GET /v1/jobs HTTP/1.1\r\nHost: a\r\nX-A: a\r\n b\r\n\r\n", 400, 401)
raw("header_of_100_kb", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * 100_000 + b"\r\n\r\n",
       0, 200, 400, 431)  # fmt: skip
raw(
    "address_of_100_kb",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    0,
    400,
    404,
    414,
)
raw("no_host", b"GET /v1/jobs HTTP/1.1\r\n\r\n", 400)
raw("http_1_0", b"GET /v1/health/live HTTP/1.0\r\n\r\n", 200)
raw("http_9", b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", 200, 400, 505)
raw("http_2_preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, 404, 505)
raw("tls_hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n", 0, 400)
raw("noise", string.printable.encode() * 20 + b"\r\n\r\n", 0, 400)
raw("absolute_address", b"GET http://evil/v1/health/live HTTP/1.1\r\nHost: evil\r\n\r\n", 200, 404)
raw("star", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400, 404, 405)
raw("connect", b"CONNECT evil:443 HTTP/1.1\r\nHost: a\r\n\r\n", 0, 400, 404, 405)
