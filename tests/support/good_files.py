"""Small files that readers find good, for changes to begin with."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from midhaul.memory.samples import Samples
from midhaul.memory.serving.messages import write_samples

_SAMPLES = Samples.of(
    np.eye(2), np.array([0, 2]), prediction=np.full((2, 2), 0.5), group=np.zeros(2)
)
_EXAMPLES = Path(__file__).parents[2] / "examples"


def _picture(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    pixels = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


GOOD: tuple[bytes, ...] = (
    *(_picture(kind) for kind in ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")),
    _picture("JPEG", progressive=True),
    _picture("TIFF", compression="tiff_lzw"),
    *(file.read_bytes() for file in sorted(_EXAMPLES.glob("*.toml"))),
    b'{"settings": {"name": "edge", "port": 0, "detector": "null"}}',
    b'{"images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 8}], '
    b'"annotations": [{"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, '
    b'"bbox": [1, 1, 2, 2], "area": 4}], "categories": [{"id": 1, "name": "a"}]}',
    b"0 0.5 0.5 0.25 0.25\n1 0.5 0.5 1 1\n",
    b"names: {0: a, 1: b}\npath: .\n",
    b"a\nb\n",
    b"<annotation><size><width>8</width><height>8</height><depth>3</depth></size>"
    b"<object><name>a</name><difficult>0</difficult><bndbox><xmin>1</xmin>"
    b"<ymin>1</ymin><xmax>3</xmax><ymax>3</ymax></bndbox></object></annotation>",
    b'{"id2label": {"0": "a", "1": "b"}, "model_type": "detr", "size": {"height": 8, '
    b'"width": 8}, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}',
    b'{"shapes": [{"label": "a", "points": [[1, 1], [3, 3]], "shape_type": "rectangle"}'
    b'], "imagePath": "a.png", "imageWidth": 8, "imageHeight": 8}',
    b'[{"image": "a.png", "annotations": [{"label": "a", "coordinates": {"x": 2, '
    b'"y": 2, "width": 2, "height": 2}}]}]',
    b'<annotations><image name="a.png" width="8" height="8"><box label="a" xtl="1" '
    b'ytl="1" xbr="3" ybr="3"/></image></annotations>',
    b"0.5\n1.0\n2.5\n",
    b"1000\n1001\n1010\n",
    b'{"rates_bps": {"a/b": 1e6, "a/#": 2e5}}',
    b"version,analytic,arrival_min,lifetime_min\n1,a,2,3\n",
    b"knob,rate_bps,quality\n1,1000,0.5\n2,2000,0.7\n",
    b"[a]\nprice_usd = 0.001\n[b]\nprice_usd = 0.002\n",
    b'{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", '
    b'"config": {"mediaType": "application/vnd.oci.image.config.v1+json", '
    b'"digest": "sha256:' + b"0" * 64 + b'", "size": 2}, "layers": [{"mediaType": '
    b'"application/vnd.oci.image.layer.v1.tar+gzip", "digest": "sha256:'
    + b"1" * 64 + b'", "size": 9}]}',
    b'{"nodes": ["a", "b"], "hosts": ["a"], "links": [{"source": "a", "target": "b", '
    b'"rate_bps": 1e9, "queue": {"max_packets": 9}, "rate_changes": [[1, 5e8]]}]}',
    b"NODES 2\nlabel x y\na 0 0\nb 1 1\n\nEDGES 1\nlabel src dest weight bw delay\n"
    b"e 0 1 1 1000 5\n",
    b"DEMANDS 1\nlabel src dest bw\nd 0 1 1000\n",
    b'<graphml xmlns="http://graphml.graphdrawing.org/xmlns"><key id="s" for="edge" '
    b'attr.name="LinkSpeedRaw" attr.type="double"/><graph edgedefault="undirected">'
    b'<node id="a"/><node id="b"/><edge source="a" target="b"><data key="s">1e9</data>'
    b"</edge></graph></graphml>",
    b"source,target,size_bytes,start_ns\na,b,10,0\n",
    b"0 0\n100 50\n200 100\n",
    b'{"matrix": {"inner": [[0, 1], [2, 0]]}}',
    b"time (ns GMT),session_id,index,expt_id,channel,video_ts,format,size,ssim_index,"
    b"cwnd,in_flight,min_rtt,rtt,delivery_rate,buffer,cum_rebuf\n"
    b"1000000000,a=,0,1,abc,0,x,30000,0.98,10,0,20000,30000,150000,0.0,0.1\n"
    b"3000000000,a=,0,1,abc,180180,x,40000,0.97,10,0,20000,30000,150000,1.0,0.1\n",
    b'7 {"abr_name": "fugu_feb", "abr": "puffer_ttp_cl", "cc": "bbr"}\n',
    b"abr,day,ssim_db,variation_db,stall_s,play_s\na,1,12.5,0.5,1.5,100\n",
    write_samples(_SAMPLES, {}),
    b'{"x": [[1, 2]], "y": [null], "time_s": [1.5], "group": [3]}',
    b'{"time_s": [1.5], "group": [3], "y": [0.5]}',
    b"port = 0\n[bins]\nn_classes = 3\n[memory]\ncapacity = 5\n",
    b"CLIENT_RANDOM " + b"0" * 64 + b" " + b"1" * 96 + b"\n",
)  # fmt: skip
