"""Files that point elsewhere: playlists, manifests, documents, none of which may be followed."""

from collections.abc import Callable

from preprocessing.errors import MediaError
from tests.server.corpus.case import UNREADABLE, Place, add, case
from tests.server.corpus.making import id3


def _words(name: str, suffix: str, text: Callable[[Place], str],
           *outcomes: type[MediaError]) -> None:  # fmt: skip
    add(name, suffix, lambda place: place.path.write_text(text(place)), *(outcomes or UNREADABLE))


def _hls(target: str, more: str = "") -> str:
    head = f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n{more}"
    return f"{head}#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n"


_words("m3u8_to_http", ".m3u8", lambda p: _hls(p.url))
_words("m3u8_to_http_called_mp4", ".mp4", lambda p: _hls(p.url))
_words("m3u8_to_file", ".m3u8", lambda p: _hls(f"file://{p.neighbour}"))
_words("m3u8_to_path", ".m3u8", lambda p: _hls(str(p.neighbour)))
_words("m3u8_to_neighbour", ".m3u8", lambda p: _hls(p.neighbour.name))
_words("m3u8_key_from_http", ".m3u8",
       lambda p: _hls(p.neighbour.name, f'#EXT-X-KEY:METHOD=AES-128,URI="{p.url}"\n'))  # fmt: skip
_words("m3u8_map_from_http", ".m3u8",
       lambda p: _hls(p.neighbour.name, f'#EXT-X-MAP:URI="{p.url}"\n'))  # fmt: skip
_words("m3u8_master", ".m3u8",
       lambda p: f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{p.url}\n")  # fmt: skip
_words("m3u8_crypto", ".m3u8", lambda p: _hls(f"crypto+{p.url}"))
_words("m3u8_concat", ".m3u8", lambda p: _hls(f"concat:{p.neighbour}|{p.url}"))
_words("m3u8_after_byte_order_mark", ".m3u8", lambda p: "\ufeff" + _hls(p.url))
_words("m3u_plain", ".m3u", lambda p: f"{p.url}\n{p.neighbour}\n")
_words("pls", ".pls", lambda p: f"[playlist]\nFile1={p.url}\nNumberOfEntries=1\n")
_words("asx", ".asx", lambda p: f'<asx version="3.0"><entry><ref href="{p.url}"/></entry></asx>')
_words("xspf", ".xspf",
       lambda p: f"<playlist><trackList><track><location>{p.url}</location></track></trackList>"
                 "</playlist>")  # fmt: skip
_words("ffconcat_to_http", ".ffconcat", lambda p: f"ffconcat version 1.0\nfile '{p.url}'\n")
_words("ffconcat_to_http_called_wav", ".wav", lambda p: f"ffconcat version 1.0\nfile '{p.url}'\n")
_words("ffconcat_to_path", ".txt", lambda p: f"ffconcat version 1.0\nfile '{p.neighbour}'\n")
_words("ffconcat_to_neighbour", ".txt",
       lambda p: f"ffconcat version 1.0\nfile {p.neighbour.name}\n")  # fmt: skip
_words("ffconcat_with_options", ".txt",
       lambda p: f"ffconcat version 1.0\nfile '{p.neighbour}'\noption safe 0\n"
                 f"option protocol_whitelist http,tcp,file\nfile '{p.url}'\n")  # fmt: skip
_words("ffconcat_of_itself", ".txt", lambda p: f"ffconcat version 1.0\nfile '{p.path}'\n" * 50)
_words("dash", ".mpd", lambda p: _DASH.replace("URL", p.url))
_words("dash_called_mp4", ".mp4", lambda p: _DASH.replace("URL", p.url))
_words("smooth_streaming", ".ism", lambda p: f'<smil><body><video src="{p.url}"/></body></smil>')
_words("sdp_to_udp", ".sdp", lambda p: _SDP.replace("PORT", str(p.udp_port)))
_words("sdp_called_mp4", ".mp4", lambda p: _SDP.replace("PORT", str(p.udp_port)))
_words("svg_with_links", ".svg", lambda p: _SVG.replace("URL", p.url).replace("FILE", str(p.path)))
_words("rtsp_redirect", ".mov", lambda p: f"RTSPtextRTSP://{p.url[7:]}\r")
_words("quicktime_link", ".qtl",
       lambda p: f'<?xml version="1.0"?><?quicktime type="application/x-quicktime-media-link"?>'
                 f'<embed src="{p.url}"/>')  # fmt: skip
_words("imf_list", ".xml",
       lambda p: '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/'
                 f'schemas/2067-3/2016"><x>{p.url}</x></CompositionPlaylist>')  # fmt: skip
_words("html", ".html", lambda p: f'<html><video src="{p.url}"></video></html>')
_words("internet_shortcut", ".url", lambda p: f"[InternetShortcut]\nURL={p.url}\n")
_words("only_an_address", ".mp4", lambda p: p.url)
_words("billion_laughs", ".xml", lambda p: _LAUGHS)
_words("outside_entity", ".xml",
       lambda p: f'<!DOCTYPE a [<!ENTITY b SYSTEM "{p.url}">]><MPD>&b;</MPD>')  # fmt: skip
_words("subtitles", ".srt", lambda p: f"1\n00:00:00,000 --> 00:00:01,000\n{p.url}\n")
_words("subtitles_ass", ".ass",
       lambda p: f"[Script Info]\nTitle: {p.url}\n[Events]\n"
                 "Dialogue: 0,0:00:00.00,0:00:01.00,,a\n")  # fmt: skip
_words("lyrics", ".lrc", lambda p: "[ti:a]\n[00:01.00]b\n")
_words("ffmetadata", ".txt", lambda p: ";FFMETADATA1\ntitle=a\n")
_words("avisynth_script", ".avs", lambda p: f'DirectShowSource("{p.neighbour}")\n')
_words("vapoursynth_script", ".vpy", lambda p: f"open({str(p.marker)!r}, 'w')\n")
_words("lavfi_graph", ".lavfi", lambda p: "sine=d=1[out0];amovie=" + str(p.neighbour))

_DASH = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT1S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011">'
    '<BaseURL>URL</BaseURL><Period><AdaptationSet mimeType="audio/mp4"><Representation id="1" '
    'bandwidth="1"><BaseURL>URL</BaseURL></Representation></AdaptationSet></Period></MPD>'
)
_SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=a\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio PORT RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
)
_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    '<script>fetch("URL")</script><image xlink:href="URL"/><image href="file://FILE"/></svg>'
)
_LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE MPD [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {chr(98 + n)} "{10 * f"&{chr(97 + n)};"}">' for n in range(9))
    + "]><MPD>&j;</MPD>"
)


@case("m3u8_after_an_id3_tag", ".mp3", *UNREADABLE)
def _(place: Place) -> None:
    place.path.write_bytes(id3(200) + _hls(place.url).encode())


@case("m3u8_after_zeros", ".ts", *UNREADABLE)
def _(place: Place) -> None:
    place.path.write_bytes(bytes(376) + _hls(place.url).encode())
