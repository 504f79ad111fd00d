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

from midhaul.runs.metric import declare, metric_table

_BATCHES = "batches of requests"

_ACCURACY = metric_table(
    """
    ap, higher, over images, "AP" as {:.3f}: average precision as COCO has it: mean over
        classes and over IoU 0.50 to 0.95 in steps of 0.05
    ap50, higher, over images, "AP50" as {:.3f}: average precision at IoU 0.50
    ap75, higher, over images: average precision at IoU 0.75
    ap_small, higher: `ap` of boxes below 32² px
    ap_medium, higher: `ap` of boxes from 32² to 96² px
    ap_large, higher: `ap` of boxes above 96² px
    ar100, higher: largest recall with 100 detections an image and class (or
        `judge.max_detections`), mean over classes and IoU
    precision, higher, over images: right detections over all detections, at
        `judge.threshold`
    recall, higher, over images: found boxes over all boxes, at `judge.threshold`
    f1, higher, over images, "F1" as {:.3f}: harmonic mean of the two, over all boxes of
        the data set
    macro_f1, higher, over images: mean over classes of the F1 of each
    f1_calibrated, higher, over images, "F1, own threshold" as {:.3f}: F1 with each
        image judged at the threshold that serves the other half of the images best
    threshold_calibrated: mean of the two thresholds behind it
    f1_thesis: what the thesis calls F1: mean over images and their classes, at 0.75,
        see [what the thesis hid](../explanation/what-the-thesis-hid.md)
    received_bytes [B], lower, over images: size of an image's file as it came in
    prepared_bytes [B], lower, over images, "bytes per image" as size: its size after
        preprocessing
    size_left, lower, over images, "size left" as share: sum of prepared over sum of
        received bytes
    forwarded_share, lower, over images: share of the images that an edge sends on to
        its cloud
    """
)
_TIMES = metric_table(
    """
    latency_mean_s: mean of planned send to answer decoded
    latency_p50_s, "median latency" as duration: median of the same
    latency_p90_s, "latency p90" as duration: 90th percentile, where requests carry it
    latency_p99_s, "latency p99" as duration: 99th percentile
    latency_p999_s: 99.9th percentile
    service_p50_s: median of actual send to answer decoded
    throughput_hz [Hz], higher, "answers per s": answers per second
    """,
    unit="s",
    better="lower",
    over=_BATCHES,
)
_F1_PER_S = metric_table(
    """
    f1_per_s [1/s], higher, over images and batches of requests, "F1 per s": `f1` over
        `latency_mean_s`, the thesis's trade-off; the relative widths of their intervals
        add up as squares
    """
)
_REQUESTS = metric_table(
    """
    error_rate, lower, "failed" as share: failed requests over all judged requests
    goodput, higher: answers within `load.latency_bound_s` over all judged requests;
        only with such a bound
    access_up_bytes [B], lower: body of a request, workload to edge, mean over judged
        requests
    access_down_bytes [B], lower: body of its answer
    backhaul_up_bytes [B], lower, "bytes to the cloud" as size: bytes that an edge
        sends to its cloud, mean over judged requests: 0 for those that it answers
        itself; a bound where requests were not answered, as nobody told what was sent
        for them
    backhaul_down_bytes [B], lower: bytes that come back, likewise
    """,
    over=_BATCHES,
)
_STAGES = metric_table(
    """
    stage_late_s: from the planned to the actual send
    stage_queue_s: wait in the edge before work began
    stage_decode_s: decoding at the edge
    stage_preprocess_s: gray and resize at the edge
    stage_encode_s: encoding at the edge
    stage_inference_s: the detector at the edge
    stage_rest_s: what the edge does not tell: packing, and reading the body
    stage_network_s: what remains for client, link and HTTP between workload and edge
    stage_forward_s: the edge waits for its cloud, network included
    stage_backhaul_s: what remains for link and HTTP between edge and cloud
    stage_cloud_queue_s: wait in the cloud before work began
    stage_cloud_decode_s: decoding in the cloud
    stage_cloud_inference_s: the detector in the cloud
    stage_cloud_rest_s: what the cloud does not tell, its preprocessing included
    stage_unanswered_s: waits for answers that did not come, as a whole
    """,
    unit="s",
    better="lower",
    over=_BATCHES,
)
_COST = metric_table(
    """
    usd_per_1000 [USD], lower, model, over blocks, "USD per 1000": price of a thousand
        requests: node hours and bytes on the backhaul
    joule_per_request [J], lower, model, over blocks, "J per request": energy of a
        request: CPU seconds and bytes on links
    """
)

METRICS = declare(
    *_ACCURACY,
    *_TIMES,
    *_F1_PER_S,
    *_REQUESTS,
    *_STAGES,
    *_COST,
    headline="ap ap50 f1_calibrated latency_p50_s latency_p90_s throughput_hz "
    "backhaul_up_bytes usd_per_1000",
)
"""What testbed.measure finds, in the order of its report."""

ACCURACY_METRICS = declare(
    *_ACCURACY, headline="ap ap50 f1_calibrated prepared_bytes size_left"
)

OVERHEAD_METRICS = declare(
    *_TIMES,
    *_REQUESTS,
    *_STAGES,
    *_COST,
    headline="latency_p50_s latency_p90_s throughput_hz stage_queue_s stage_decode_s "
    "stage_network_s",
)
