"""More requests that abuse HTTP: framing, forms, keys and addresses that look nearly right."""

from collections.abc import Callable

from tests.server.corpus.http_cases import (
    ENHANCE,
    HTTP_CASES,
    JOBS,
    NO_JOB,
    SYNC_LIMIT_BYTES,
    Keys,
    add,
    get,
    post,
    raw,
)
from tests.server.raw_http import BOUNDARY, chunked, form, joined, part, request

_TYPE = "multipart/form-data"


# --- keys --------------------------------------------------------------------------------------
def _asks(*headers: tuple[str, str], path: str = JOBS, method: str = "GET") -> Callable[..., bytes]:
    """A request whose headers may name keys as {alice}."""

    def send(keys: Keys) -> bytes:
        named = {"alice": keys.alice, "bob": keys.bob, "admin": keys.admin}
        return request(method, path, headers=[(name, it.format(**named)) for name, it in headers])

    return send


for _name, _headers, _status in (
    ("scheme_in_small_letters", (("Authorization", "bearer {alice}"),), 200),
    ("key_in_its_own_header", (("X-API-Key", "{alice}"),), 200),
    ("good_header_beside_basic", (("Authorization", "Basic YTpi"), ("X-API-Key", "{alice}")), 200),
    ("bad_bearer_beside_good", (("Authorization", "Bearer a"), ("X-API-Key", "{alice}")), 401),
    ("empty_header_beside_good", (("X-API-Key", ""), ("Authorization", "Bearer {alice}")), 200),
    ("good_key_and_more", (("Authorization", "Bearer {alice}x"),), 401),
    ("good_key_less_its_end", (("Authorization", "Bearer {alice:.20}"),), 401),
    ("two_good_keys_in_one", (("Authorization", "Bearer {alice}, Bearer {admin}"),), 401),
    ("hash_for_a_key", (("Authorization", "Bearer sha256:" + "0" * 64),), 401),
):
    add(f"auth_{_name}", _asks(*_headers), _status, method="GET")
for _path in (NO_JOB, f"{NO_JOB}/content", f"{NO_JOB}/events", "/v1/models", "/v1/models/x"):
    add(f"auth_nobody_at{_path.replace('/', '_')}", _asks(path=_path), 401,
        code="unauthenticated", method="GET")  # fmt: skip
for _method, _path in (("DELETE", NO_JOB), ("POST", f"{NO_JOB}/cancel"), ("POST", "/v1/faces"),
                       ("POST", "/v1/evaluations"), ("POST", "/v1/gestures"), ("POST", JOBS),
                       ("POST", "/v1/models/avse-mmtm/unload")):  # fmt: skip
    add(f"auth_nobody_{_method}{_path.replace('/', '_')}", _asks(path=_path, method=_method), 401,
        code="unauthenticated")  # fmt: skip
add("auth_load_of_nothing_without_scope",
    _asks(("X-API-Key", "{alice}"), path="/v1/models/none/load", method="POST"), 403,
    code="forbidden")  # fmt: skip
for _path, _status, _code in (("none/load", 404, "model_not_found"),
                              ("face-detector/load", 409, "conflict"),
                              ("face-detector/unload", 409, "conflict"),
                              ("..%2fnone/unload", 404, "")):  # fmt: skip
    add(f"model_{_path.replace('/', '_')}",
        _asks(("X-API-Key", "{admin}"), path=f"/v1/models/{_path}", method="POST"), _status,
        code=_code)  # fmt: skip
for _path in ("/v1/health/live", "/v1/health/ready", "/v1/metadata", "/metrics", "/openapi.json",
              "/docs", "/"):  # fmt: skip
    add(f"open_to_all{_path.replace('/', '_')}", _asks(path=_path), 200, method="GET")

# --- fields ------------------------------------------------------------------------------------
for _name, _fields in (
    ("strength_wide_digit", {"strength": "\uff11"}),
    ("strength_comma", {"strength": "0,5"}),
    ("strength_hex", {"strength": "0x1"}),
    ("strength_minus_nan", {"strength": "-nan"}),
    ("track_arabic_digit", {"audio_track": "\u0663"}),
    ("track_64", {"audio_track": "64"}),
    ("track_word", {"audio_track": "true"}),
    ("face_arabic_digit", {"face": "\u0663"}),
    ("face_with_newline", {"face": "auto\n"}),
    ("face_zero", {"face": "0"}),
    ("face_of_no_width", {"face": "1,1,0,5@0"}),
    ("face_of_no_height", {"face": "1,1,5,0.0@0"}),
    ("face_without_time", {"face": "1,2,3,4"}),
    ("face_below_zero", {"face": "-1,2,3,4@0"}),
    ("mode_with_space", {"mode": " auto"}),
    ("rate_48000", {"sample_rate": "48000"}),
    ("start_is_end", {"start": "1", "end": "1"}),
    ("end_zero", {"end": "0"}),
    ("start_of_two_days", {"start": "172800"}),
):
    post(f"field_{_name}", form(**_fields), 422)
for _name, _fields in (
    ("address_of_a_file", {"url": "http://127.0.0.1:1/a.mp4"}),
    ("address_in_another_word", {"file_url": "file:///etc/passwd"}),
    ("kind_at_the_wrong_door", {"kind": "enhancement"}),
    ("webhook_at_the_wrong_door", {"webhook_url": "http://example.com/"}),
    ("metadata_at_the_wrong_door", {"metadata": "{}"}),
    ("thumbnails_at_the_wrong_door", {"thumbnails": "true"}),
    ("in_capitals", {"MODE": "auto"}),
    ("with_brackets", {"mode[]": "auto"}),
    ("charset", {"_charset_": "utf-7"}),
):
    post(f"field_{_name}", form(**_fields), 400)
post("file_as_an_address", joined([part("file", "http://127.0.0.1:1/a.mp4")]), 400)
post("file_in_capitals", joined([part("File", b"x", "a")]), 400)
post("fields_20", joined([*(part(f"f{n}", "x") for n in range(20)), part("file", b"x", "a")]), 400)
post("field_of_4_kb", form(model="m" * 4_000), 422)
post("job_metadata_17_notes", form(metadata="{" + ",".join(f'"{n}":""' for n in range(17)) + "}"),
     422, path=JOBS)  # fmt: skip
post("job_metadata_numbers", form(metadata='{"a":1}'), 422, path=JOBS)
post("job_metadata_huge_number", form(metadata='{"a":' + "9" * 3_900 + "}"), 422, path=JOBS)
post("job_metadata_of_5_kb", form(metadata='{"a":"' + "b" * 5_000 + '"}'), 413, path=JOBS,
     code="payload_too_large")  # fmt: skip
post("job_evaluation_with_a_clip", form(kind="evaluation"), 400, path=JOBS)
post("job_faces_with_strength", form(kind="faces", strength="1"), 400, path=JOBS)
post("evaluation_with_one_empty_file",
     joined([part("reference", b"x", "a"), part("estimate", b"", "b")]), 422, code="undecodable",
     path="/v1/evaluations")  # fmt: skip
post("gestures_are_not_there", form(), 404, code="head_not_configured", path="/v1/gestures")
post("actions_without_a_body", b"", 404, code="head_not_configured", path="/v1/actions")

# --- multipart ---------------------------------------------------------------------------------
_GOOD = form()
post("type_in_capitals", _GOOD, 200, code="",
     Content_Type=f"MULTIPART/FORM-DATA; boundary={BOUNDARY.decode()}")  # fmt: skip
post("type_boundary_in_quotes", _GOOD, 200, code="",
     Content_Type=f'{_TYPE}; charset=utf-8; boundary="{BOUNDARY.decode()}"')  # fmt: skip
post("type_mixed", _GOOD, 415, Content_Type=f"multipart/mixed; boundary={BOUNDARY.decode()}")
post("type_boundary_of_dashes", _GOOD, 400, Content_Type=f"{_TYPE}; boundary=-")
post("multipart_line_feeds_only", _GOOD.replace(b"\r\n", b"\n"), 400)
post("multipart_of_multipart", joined([
    b'Content-Disposition: form-data; name="file"; filename="a"\r\n'
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--"]), 200,
    code="")  # fmt: skip
post("multipart_base64", joined([
    b'Content-Disposition: form-data; name="file"; filename="a"\r\n'
    b"Content-Transfer-Encoding: base64\r\n\r\nUklGRg=="]), 200, code="")  # fmt: skip
for _name, _head in (
    ("two_names", b'form-data; name="file"; name="mode"; filename="a"'),
    ("attachment", b'attachment; name="file"; filename="a"'),
    ("name_empty", b'form-data; name=""; filename="a"'),
    ("name_with_zero", b'form-data; name="fi\0le"; filename="a"'),
    ("name_not_utf8", b'form-data; name="\xff\xfe"; filename="a"'),
    ("name_without_quotes", b"form-data; name=file; filename=a"),
    ("name_not_closed", b'form-data; name="file; filename="a"'),
    ("name_star", b"form-data; name*=utf-8''file; filename=a"),
    ("of_10_kb", b'form-data; name="file"; filename="a"; ' + b"x=y; " * 2_000),
):
    post(f"disposition_{_name}", joined([b"Content-Disposition: " + _head + b"\r\n\r\nsound"]),
         200, 400, code="")  # fmt: skip
post("disposition_twice", joined([
    b'Content-Disposition: form-data; name="file"; filename="a"\r\n'
    b'Content-Disposition: form-data; name="mode"\r\n\r\nauto']), 200, 400, code="")  # fmt: skip


# --- how the body comes ------------------------------------------------------------------------
def _in_chunks(body: bytes) -> Callable[[Keys], bytes]:
    """These chunks, as they are."""
    return lambda k: request("POST", ENHANCE, body, [("Transfer-Encoding", "chunked")], k.alice)


def _awaited(
    n_bytes: int, key: str = "alice", expected: str = "100-continue"
) -> Callable[..., bytes]:
    """The head of an upload whose client waits to be told to go on."""

    def send(keys: Keys) -> bytes:
        own = {"alice": keys.alice, "nobody": None}[key]
        given = [("Content-Length", str(n_bytes)), ("Expect", expected)]
        return request("POST", ENHANCE, b"", given, own)

    return send


add("expect_for_too_much", _awaited(10**10), 413, code="payload_too_large")
add("expect_without_a_key", _awaited(10**10, "nobody"), 401, code="unauthenticated")
add("expect_something_else", lambda k: request(
    "POST", ENHANCE, _GOOD, [("Expect", "200-maybe")], k.alice), 200, 417)  # fmt: skip
add("chunks_of_one_byte", _in_chunks(chunked(_GOOD, 1)), 200)
add("chunks_in_capitals", _in_chunks(b"%X\r\n%b\r\n0\r\n\r\n" % (len(_GOOD), _GOOD)), 200)
add("chunks_with_words", _in_chunks(b"%x;a=b\r\n%b\r\n0\r\n\r\n" % (len(_GOOD), _GOOD)), 200)
add("chunks_with_a_trailer", _in_chunks(
    b"%x\r\n%b\r\n0\r\nX-API-Key: a\r\nContent-Length: 3\r\n\r\n" % (len(_GOOD), _GOOD)),
    200, 400)  # fmt: skip
add("chunks_that_end_early", _in_chunks(b"%x\r\n%b\r\n0\r\n\r\n" % (40, _GOOD[:40])), 400)
add("chunks_that_stop", _in_chunks(b"%x\r\n%b\r\n" % (40, _GOOD[:40])), 408)
for _name, _size in (("of_exabytes", b"7fffffffffffffff"), ("beyond_numbers", b"f" * 40),
                     ("below_zero", b"-5"), ("empty", b""), ("with_0x", b"0x5"),
                     ("with_words_of_100_kb", b"5;" + b"a" * 100_000)):  # fmt: skip
    add(f"chunk_size_{_name}", _in_chunks(_size + b"\r\n" + _GOOD), 0, 400, 408, 413,
        is_outside=True)  # fmt: skip
_GET = b"GET /v1/health/live HTTP/1.1\r\nHost: a\r\n"
for _name, _line in (
    ("length_with_plus", b"Content-Length: +5"),
    ("length_twice_the_same", b"Content-Length: 2\r\nContent-Length: 2"),
    ("length_in_a_list", b"Content-Length: 2, 3"),
    ("length_hex", b"Content-Length: 0x2"),
    ("encodings_two", b"Transfer-Encoding: gzip, chunked"),
    ("encoding_chunked_twice", b"Transfer-Encoding: chunked, chunked"),
    ("encoding_with_tab", b"Transfer-Encoding:\tchunked"),
    ("encoding_identity", b"Transfer-Encoding: identity"),
    ("space_before_the_colon", b"Content-Length : 2"),
    ("carriage_return_inside", b"X-A: a\rX-B: b"),
    ("two_hosts", b"Host: b"),
    ("upgrade_to_http_2", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c"),
    ("other_method_in_a_header", b"X-HTTP-Method-Override: DELETE"),
    ("other_address_in_a_header", b"X-Original-URL: /v1/jobs\r\nX-Rewrite-URL: /v1/jobs"),
    ("300_headers", b"\r\n".join(b"X-%d: a" % n for n in range(300))),
):
    raw(f"head_{_name}", _GET + _line + b"\r\nConnection: close\r\n\r\n{}0\r\n\r\n", 200, 400, 501)
raw(
    "head_with_line_feeds",
    b"GET /v1/health/live HTTP/1.1\nHost: a\nConnection: close\n\n",
    200,
    400,
)
raw("head_in_small_letters", b"get /v1/health/live http/1.1\r\nhost: a\r\n\r\n", 400, 405)
raw("head_of_http_0_9", b"GET /\r\n\r\n", 400)
raw("head_never_ends", _GET + b"X-A: a\r\n", 408)
raw(
    "head_trickles", [_GET, *[piece for n in range(20) for piece in (0.1, b"X-%d: a\r\n" % n)]], 408
)
raw("nothing_is_said", b"", 0)

# --- addresses and methods ---------------------------------------------------------------------
for _path in ("/v1/health/live", "/v1/health/ready", "/", "/docs", "/openapi.json", "/metrics",
              "/web/app.js", JOBS, "/v1/models"):  # fmt: skip
    add(f"head_of{_path.replace('/', '_')}", lambda k, p=_path: request("HEAD", p, key=k.alice),
        200, method="HEAD", is_outside=True)  # fmt: skip
for _path in (NO_JOB, f"{NO_JOB}/content", f"{NO_JOB}/events", "/nothing"):
    add(f"head_of{_path.replace('/', '_')}", lambda k, p=_path: request("HEAD", p, key=k.alice),
        404, method="HEAD", is_outside=True)  # fmt: skip
for _index, _path in enumerate((
    f"{JOBS}/", f"{JOBS}//", f"{NO_JOB}/", f"{NO_JOB}//events", f"{NO_JOB}/content/", "/v1", "/v1/",
    "/V1/jobs", "/v1/Jobs", "/docs/", "/openapi.json/", "/metrics/", "/redoc", "/favicon.ico",
    "/robots.txt", "/.well-known/security.txt", "/.env", "/web", "/web/", "/web/.", "/web/..",
    "/web//app.js", "/web/app.js/", "/web/app.js%00", "/web/app.js%2f", "/web/./app.js",
    "/web/index.html", "/web/samples/", "/web/vendor/..%2fapp.js", "/..;/v1/jobs",
    "/server/main.py", "/static/app.js", f"{JOBS}/%2e%2e", f"{JOBS};a=b", "/v1/jobs%20",
    "/%2e/v1/jobs", f"{NO_JOB}/content/../../x", f"{NO_JOB}/report.json", f"{NO_JOB}/input",
    "/v1/models/", "/v1/audio/speech", "/v1/audio/enhancements/x",
)):  # fmt: skip
    get(f"path_near_{_index}", _path, 404)
get("path_with_its_slash_encoded", "/v1%2fjobs", 200, 404)
get("path_of_another_host_stays", f"{JOBS}/", 404, Host="evil.example")
post("path_of_an_upload_with_a_slash", _GOOD, 404, code="not_found", path=f"{ENHANCE}/")
for _method, _path in (("PUT", ENHANCE), ("DELETE", JOBS), ("GET", f"{NO_JOB}/cancel"),
                       ("PUT", f"{NO_JOB}/content"), ("POST", f"{NO_JOB}/events"),
                       ("GET", "/v1/models/avse-mmtm/load"), ("POST", "/"), ("DELETE", "/docs"),
                       ("GET", "/v1/faces"), ("PROPFIND", "/"), ("OPTIONS", JOBS),
                       ("QUERY", JOBS)):  # fmt: skip
    add(f"method_{_method}_{_path.strip('/').replace('/', '_')}",
        lambda k, m=_method, p=_path: request(m, p, key=k.alice), 405)  # fmt: skip
for _name, _query in (("float", "limit=1.5"), ("plus", "limit=%2b1"), ("wide", "limit=%EF%BC%91"),
                      ("list", "limit[]=1"), ("101", "limit=101"), ("empty", "limit="),
                      ("status_all", "status=all"), ("status_empty", "status="),
                      ("kind_case", "kind=Faces")):  # fmt: skip
    get(f"query_limit_{_name}", f"{JOBS}?{_query}", 200, 422)
get("query_of_50_kb", f"{JOBS}?a=" + "b" * 50_000, 200, 400, 414)
get("query_not_utf8", f"{JOBS}?status=%ff", 422)
get("query_after_zero_byte", f"{JOBS}?after=%00", 404)
get("query_after_empty", f"{JOBS}?after=", 404, 422)
get("query_two_variants", f"{NO_JOB}/content?variant=audio&variant=none", 404, 422)
get("query_task_unknown", "/v1/models?task=%00", 200)

# --- headers -----------------------------------------------------------------------------------
for _index, _range in enumerate(("bytes=0-", "bytes=" + ",".join(["0-1"] * 3_000), "a", "=", "")):
    get(f"header_range_{_index}", f"{NO_JOB}/content", 404, Range=_range)
for _index, _wish in enumerate(("wait", "wait=", "wait=-1", "wait=1e9", "wait=\xb2", 'wait="5',
                                "respond-async;wait=5", "," * 3_000)):  # fmt: skip
    get(f"header_prefer_{_index}", NO_JOB, 404, Prefer=_wish)
post("header_prefer_async", _GOOD, 202, code="", Prefer="return=minimal, Respond-Async; a=b")
get("header_accept_encoding", JOBS, 200, Accept_Encoding="gzip;q=9, br, *;q=0")
get("header_if_match", JOBS, 200, If_Match='"a"', If_Unmodified_Since="0")
get("header_language", JOBS, 200, Accept_Language="x" * 5_000, Accept="*/*;q=nan")
get("header_origin", JOBS, 200, Origin="null", Sec_Fetch_Site="cross-site")
post("announced_over_the_limit_by_a_byte", form(b"x" * SYNC_LIMIT_BYTES), 200, code="")

ALL_CASES = HTTP_CASES
