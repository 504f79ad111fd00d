"""The metrics of testbed.measure, testbed.accuracy and testbed.overhead.

Accuracy is judged by the collector, from the table `detections` and the ground truth,
which never leaves it. A detection is right when it overlaps a box of its class with an
IoU of at least 0.5, unless stated otherwise.

Times are over all judged requests. One that was not answered, whatever it failed of,
counts as at least the time that it was given (`load.timeout_s`), so a number that lies
among such requests is a bound. Percentiles beyond the median are what so many requests
[carry](../explanation/statistics.md#how-many-requests-a-percentile-needs); there is
none below 11 requests for the median, 64 for p90, 662 for p99 and 6,636 for p99.9.

Each stage is the mean over all judged requests; what a request does not do took 0. But
for `stage_forward_s`, which is the sum of the five from `stage_backhaul_s` to
`stage_cloud_rest_s`, they sum up to `latency_mean_s`.

Cost and energy are models: the coefficients of the section `cost` of the experiment,
over what was measured.
"""

from __future__ import annotations

from midhaul.runs.metric import Metric, declare

_ACCURACY = (
    Metric(
        "ap",
        "average precision as COCO has it: mean over classes and over IoU 0.50 to "
        "0.95 in steps of 0.05",
        better="higher",
        heading="AP",
        form="{:.3f}",
        over="images",
    ),
    Metric(
        "ap50",
        "average precision at IoU 0.50",
        better="higher",
        heading="AP50",
        form="{:.3f}",
        over="images",
    ),
    Metric("ap75", "average precision at IoU 0.75", better="higher", over="images"),
    Metric("ap_small", "`ap` of boxes below 32² px", better="higher"),
    Metric("ap_medium", "`ap` of boxes from 32² to 96² px", better="higher"),
    Metric("ap_large", "`ap` of boxes above 96² px", better="higher"),
    Metric(
        "ar100",
        "largest recall with 100 detections an image and class (or "
        "`judge.max_detections`), mean over classes and IoU",
        better="higher",
    ),
    Metric(
        "precision",
        "right detections over all detections, at `judge.threshold`",
        better="higher",
        over="images",
    ),
    Metric(
        "recall",
        "found boxes over all boxes, at `judge.threshold`",
        better="higher",
        over="images",
    ),
    Metric(
        "f1",
        "harmonic mean of the two, over all boxes of the data set",
        better="higher",
        heading="F1",
        form="{:.3f}",
        over="images",
    ),
    Metric(
        "macro_f1",
        "mean over classes of the F1 of each",
        better="higher",
        over="images",
    ),
    Metric(
        "f1_calibrated",
        "F1 with each image judged at the threshold that serves the other half of the "
        "images best",
        better="higher",
        heading="F1, own threshold",
        form="{:.3f}",
        over="images",
    ),
    Metric("threshold_calibrated", "mean of the two thresholds behind it"),
    Metric(
        "f1_thesis",
        "what the thesis calls F1: mean over images and their classes, at 0.75, see "
        "[what the thesis hid](../explanation/what-the-thesis-hid.md)",
    ),
    Metric(
        "received_bytes",
        "size of an image's file as it came in",
        unit="B",
        better="lower",
        over="images",
    ),
    Metric(
        "prepared_bytes",
        "its size after preprocessing",
        unit="B",
        better="lower",
        heading="bytes per image",
        form="size",
        over="images",
    ),
    Metric(
        "size_left",
        "sum of prepared over sum of received bytes",
        better="lower",
        heading="size left",
        form="share",
        over="images",
    ),
    Metric(
        "forwarded_share",
        "share of the images that an edge sends on to its cloud",
        better="lower",
        over="images",
    ),
)

_TIMES = declare(
    Metric(
        "latency_mean_s",
        "mean of planned send to answer decoded",
        unit="s",
        better="lower",
    ),
    Metric(
        "latency_p50_s",
        "median of the same",
        unit="s",
        better="lower",
        heading="median latency",
        form="duration",
    ),
    Metric(
        "latency_p90_s",
        "90th percentile, as far as the requests carry it",
        unit="s",
        better="lower",
        heading="90 %",
        form="duration",
    ),
    Metric(
        "latency_p99_s",
        "99th percentile",
        unit="s",
        better="lower",
        heading="99 %",
        form="duration",
    ),
    Metric("latency_p999_s", "99.9th percentile", unit="s", better="lower"),
    Metric(
        "service_p50_s",
        "median of actual send to answer decoded",
        unit="s",
        better="lower",
    ),
    Metric(
        "throughput_hz",
        "answers per second",
        unit="Hz",
        better="higher",
        heading="answers per s",
    ),
    over="batches of requests",
)

_F1_PER_S = Metric(
    "f1_per_s",
    "`f1` over `latency_mean_s`, the thesis's trade-off; the relative widths of their "
    "intervals add up as squares",
    unit="1/s",
    better="higher",
    heading="F1 per s",
    over="images and batches of requests",
)

_REQUESTS = (
    Metric(
        "error_rate",
        "failed requests over all judged requests",
        better="lower",
        heading="failed",
        form="share",
    ),
    Metric(
        "goodput",
        "answers within `load.latency_bound_s` over all judged requests; only with "
        "such a bound",
        better="higher",
    ),
    Metric(
        "access_up_bytes",
        "body of a request, workload to edge, mean over judged requests",
        unit="B",
        better="lower",
    ),
    Metric("access_down_bytes", "body of its answer", unit="B", better="lower"),
    Metric(
        "backhaul_up_bytes",
        "bytes that an edge sends to its cloud, mean over judged requests: 0 for "
        "those that it answers itself; a bound where requests were not answered, as "
        "nobody told what was sent for them",
        unit="B",
        better="lower",
    ),
    Metric(
        "backhaul_down_bytes",
        "bytes that come back, likewise",
        unit="B",
        better="lower",
    ),
)

_STAGES = {
    "late": "from the planned to the actual send",
    "queue": "wait in the edge before work began",
    "decode": "decoding at the edge",
    "preprocess": "gray and resize at the edge",
    "encode": "encoding at the edge",
    "inference": "the detector at the edge",
    "rest": "what the edge does not tell: packing, and reading the body",
    "network": "what remains for client, link and HTTP between workload and edge",
    "forward": "the edge waits for its cloud, network included",
    "backhaul": "what remains for link and HTTP between edge and cloud",
    "cloud_queue": "wait in the cloud before work began",
    "cloud_decode": "decoding in the cloud",
    "cloud_inference": "the detector in the cloud",
    "cloud_rest": "what the cloud does not tell, its preprocessing included",
    "unanswered": "waits for answers that did not come, as a whole",
}

_LOAD = declare(
    *_REQUESTS,
    *(
        Metric(f"stage_{stage}_s", doc, unit="s", better="lower")
        for stage, doc in _STAGES.items()
    ),
    Metric(
        "usd_per_1000",
        "price of a thousand requests: node hours and bytes on the backhaul",
        unit="USD",
        better="lower",
        heading="USD per 1000",
        over="blocks",
        is_model=True,
    ),
    Metric(
        "joule_per_request",
        "energy of a request: CPU seconds and bytes on links",
        unit="J",
        better="lower",
        heading="J per request",
        over="blocks",
        is_model=True,
    ),
    over="batches of requests",
)

METRICS = declare(
    *_ACCURACY,
    *_TIMES.values(),
    _F1_PER_S,
    *_LOAD.values(),
    headline=(
        "ap",
        "ap50",
        "f1_calibrated",
        "latency_p50_s",
        "latency_p90_s",
        "throughput_hz",
        "backhaul_up_bytes",
        "usd_per_1000",
    ),
)
"""What testbed.measure finds, in the order of its report."""

ACCURACY_METRICS = declare(
    *_ACCURACY,
    headline=("ap", "ap50", "f1_calibrated", "prepared_bytes", "size_left"),
)

OVERHEAD_METRICS = declare(
    *_TIMES.values(),
    *_LOAD.values(),
    headline=(
        "latency_p50_s",
        "latency_p90_s",
        "throughput_hz",
        "stage_queue_s",
        "stage_decode_s",
        "stage_network_s",
    ),
)
