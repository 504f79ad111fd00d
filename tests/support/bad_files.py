"""Contents that no reader expects, by the kind of file that they pretend to be."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def _parquet(table: dict[str, list[object]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(table), sink)
    return sink.getvalue()


def _npz(shape: tuple[int, ...], data: bytes) -> bytes:
    head = repr({"descr": "<f8", "fortran_order": False, "shape": shape}).encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(
            "array-0.npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + data
        )
        file.writestr("meta.json.npy", b"{}")
    return sink.getvalue()


def _pickled() -> bytes:
    sink = io.BytesIO()
    np.savez(sink, evil=np.array([object()], dtype=object), allow_pickle=True)
    return sink.getvalue()


_WHOLE = _parquet({"image": ["a"], "position": [0], "score": [0.5]})
_COLUMNS = (
    *("image", "arrival_s", "lifetime_s", "position", "digest", "size_bytes", "knob"),
    *("rate_bps", "quality", "time_s", "image_id", "provider", "label", "score"),
    *("x1", "y1", "x2", "y2", "item", "price_usd"),
)
_LONG = "x" * 300_000
_DEEP = 100_000

ANY: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \n\t\n",
    "NUL": b"\0" * 64,
    "NUL inside": b'kind = "a\0b"\n',
    "bytes": bytes(range(256)) * 8,
    "half a character": b'name = "\xe2\x82',
    "latin-1": "naïve = 'café'\n".encode("latin-1"),
    "UTF-16": '{"images": []}'.encode("utf-16"),
    "only a mark": b"\xef\xbb\xbf",
    "one long line": _LONG.encode(),
    "many lines": b"x\n" * 50_000,
    "gzip": gzip.compress(b"{}"),
    "zlib": zlib.compress(b"{}" * 1000),
    "PNG": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "PDF": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "HTML": b"<!doctype html><title>404</title><h1>Not found</h1>",
    "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    "windows": b'kind = "x"\r\n\r\n[a\r\n',
}
JSON: dict[str, bytes] = {
    "JSON null": b"null",
    "JSON list": b"[]",
    "JSON text": b'"a"',
    "JSON number": b"17",
    "JSON empty": b"{}",
    "JSON cut": b'{"images": [{"id": 1, "file_na',
    "JSON twice": b"{}{}",
    "JSON deep list": b"[" * _DEEP,
    "JSON deep closed": b"[" * _DEEP + b"]" * _DEEP,
    "JSON deep table": b'{"a":' * _DEEP + b"1" + b"}" * _DEEP,
    "JSON rather deep": b'{"settings": ' + b"[" * 400 + b"]" * 400 + b"}",
    "JSON digits": b'{"version": ' + b"9" * 5000 + b"}",
    "JSON huge float": b'{"version": 1e999, "uplink_bps": -1e400}',
    "JSON NaN": b'{"uplink_bps": NaN, "rates_bps": {"a": Infinity}}',
    "JSON half pair": b'{"names": ["\\ud800"], "rates_bps": {"\\udfff": 1}}',
    "JSON NUL": b'{"names": ["a\\u0000b"], "settings": {"name": "\\u0000"}}',
    "JSON wrong types": json.dumps(
        {
            key: value
            for key in ("images", "annotations", "categories", "settings", "rates_bps")
            for value in ({"a": [1, None, {"b": True}]},)
        }
    ).encode(),
    "JSON lists of other things": json.dumps(
        {
            "images": [None, 1, [], "x", {"id": {}}],
            "annotations": [{"id": [], "bbox": "x"}],
            "categories": [{"id": None, "name": 7}],
            "settings": [],
            "rates_bps": [1],
            "id": 3,
            "verdict": 1,
            "schemaVersion": "two",
            "layers": {"a": 1},
            "manifests": "x",
        }
    ).encode(),
    "JSON many keys": json.dumps({f"key{i}": i for i in range(8000)}).encode(),
    "JSON odd boxes": json.dumps(
        {
            "images": [{"id": 1, "file_name": "a.jpg", "width": 1e308, "height": -5}],
            "annotations": [
                {
                    "id": 1,
                    "image_id": 1,
                    "category_id": 1,
                    "bbox": [1e308, -1e308, 2, 2],
                }
            ],
            "categories": [{"id": 1, "name": "a"}],
        }
    ).encode(),
}
TOML: dict[str, bytes] = {
    "TOML deep": b"kind = " + b"[" * _DEEP,
    "TOML deep closed": b"kind = " + b"[" * 300 + b"]" * 300,
    "TOML deep tables": b"kind = " + b"{a=" * 5000 + b"1" + b"}" * 5000,
    "TOML dotted": b".".join([b"a"] * 3000) + b" = 1\n",
    "TOML digits": b"seed = " + b"9" * 5000,
    "TOML large": b'kind = "testbed.accuracy"\nseed = 99999999999999999999999\n',
    "TOML larger float": b'kind = "federation.record"\nbudget_usd = 1e308\n',
    "TOML infinite": b'kind = "federation.record"\nbudget_usd = inf\n',
    "TOML NaN": b'kind = "federation.record"\nbudget_usd = nan\n',
    "TOML twice": b"a = 1\na = 2\n",
    "TOML cut": b'kind = "testbed.measure"\nnodes = [\n  { name = "a"',
    "TOML no kind": b"seed = 1\n",
    "TOML kind of another type": b"kind = 3\n",
    "TOML unknown kind": b'kind = "testbed.everything"\n',
    "TOML sweep": b'kind = "testbed.accuracy"\nsweep = 3\n',
    "TOML many keys": b'kind = "testbed.accuracy"\n'
    + b"".join(b"key%d = 1\n" % i for i in range(4000)),
    "TOML long key": b'kind = "testbed.accuracy"\n"%s" = 1\n' % _LONG.encode(),
    "TOML long value": b'kind = "testbed.accuracy"\nseed = "%s"\n' % _LONG.encode(),
    "TOML long list": b'kind = "testbed.accuracy"\nseed = [\n'
    + b"".join(b'  "%d",\n' % i for i in range(4_000))
    + b"]\n",
    "TOML dates": b'kind = 2020-01-01\nseed = 12:00:00\nnames = ["a"]\n',
    "TOML wrong types": b'kind = "testbed.measure"\nnodes = 3\nlinks = "x"\n[data]\nkind = []\n',  # noqa: E501
    "TOML of a price": b'[a]\nprice_usd = 1e308\n[b]\nprice_usd = "dear"\n[c]\n',
    "TOML of words": b'names = [1, 2]\nextends = "nothing"\nsynonyms = [3]\n',
}
YAML: dict[str, bytes] = {
    "YAML laughs": b"a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    + b"".join(
        b"%c: &%c [%s]\n" % (c + 1, c + 1, b", ".join([b"*%c" % c] * 10))
        for c in range(ord("a"), ord("i"))
    )
    + b"names: *i\n",
    "YAML circle": b"names: &n [*n]\n",
    "YAML deep": b"names: " + b"[" * 20_000,
    "YAML code": b"names: !!python/object/apply:os.system [echo]\n",
    "YAML keys": b"? [a, b]\n: 1\n? {c: d}\n: 2\nnames: {[a]: 1}\n",
    "YAML date": b"names: 2024-13-45\n",
    "YAML tab": b"names:\n\t- a\n",
    "YAML gap": b"names: {0: a, 7: b}\n",
    "YAML undefined": b"names: *nothing\n",
    "YAML two": b"names: [a]\n---\nnames: [b]\n",
}
XML: dict[str, bytes] = {
    "XML laughs": b'<!DOCTYPE a [<!ENTITY a "x"><!ENTITY b "&a;&a;">]><annotation>&b;'
    b"</annotation>",
    "XML outside": b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>',
    "XML deep": b"<annotation>" * 50_000,
    "XML deep closed": b"<annotation>" * 20_000 + b"</annotation>" * 20_000,
    "XML unknown encoding": b'<?xml version="1.0" encoding="klingon"?><annotation/>',
    "XML wide encoding": b'<?xml version="1.0" encoding="utf-7"?><annotation/>',
    "XML idna": b'<?xml version="1.0" encoding="idna"?><annotation/>',
    "XML punycode": b'<?xml version="1.0" encoding="punycode"?><annotation/>',
    "XML cut": b"<annotation><object><name>a</na",
    "XML empty root": b"<annotation/>",
    "XML other root": b"<svg/>",
    "XML digits": b"<annotation><size><width>%s</width><height>inf</height></size>"
    b"<object><name>a</name><bndbox><xmin>1e999</xmin><ymin>nan</ymin><xmax>x</xmax>"
    b"<ymax/></bndbox></object></annotation>" % (b"9" * 5000),
}
CSV: dict[str, bytes] = {
    "CSV head only": b"version,analytic,arrival_min,lifetime_min\n",
    "CSV NUL": b"version,analytic,arrival_min,lifetime_min\n1,a\0,2,3\n",
    "CSV open quote": b'version,analytic,arrival_min,lifetime_min\n1,"a,2,3\n',
    "CSV long field": b"version,analytic,arrival_min,lifetime_min\n1,%s,2,3\n"
    % _LONG.encode(),
    "CSV few": b"version,analytic,arrival_min,lifetime_min\n1\n",
    "CSV many": b"version,analytic,arrival_min,lifetime_min\n1,a,2,3,4,5,6\n",
    "CSV digits": b"version,analytic,arrival_min,lifetime_min\n1,a,%s,nan\n"
    % (b"9" * 5000),
    "CSV other": b"knob,rate_bps,quality\n1,nan,2\n1e999,-1,x\n",
    "numbers": b"1\n2\nNaN\n-inf\n" + b"9" * 5000 + b"\n",
    "falling": b"5\n4\n3\n",
    "negative": b"-1\n-2\n",
}
PARQUET: dict[str, bytes] = {
    "Parquet cut": _WHOLE[:-7],
    "Parquet without its middle": _WHOLE[:40] + _WHOLE[80:],
    "Parquet of other columns": _parquet({"a": [1]}),
    "Parquet of nothing": _parquet({"image": []}),
    "Parquet of lists": _parquet({"image": [[1]], "analytic": [{"a": 1}]}),
    "Parquet of nulls": _parquet({n: [None] for n in _COLUMNS}),
    "Parquet of nonsense": _parquet({n: ["x"] for n in _COLUMNS}),
    "Parquet of huge numbers": _parquet(
        {n: [1e308, float("nan"), float("-inf")] for n in _COLUMNS}
    ),
    "npz of 3 GB": _npz((375_000_000,), b"\0" * 1000),
    "npz of a broken head": _npz((-1, 2), b""),
    "npz of objects": _pickled(),
}

ALL = ANY | JSON | TOML | YAML | XML | CSV | PARQUET
