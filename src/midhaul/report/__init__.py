"""Reports: tables and figures from runs, as one HTML file that needs nothing else."""

from midhaul.report.page import (
    Cell,
    Code,
    DataTable,
    Figure,
    Gallery,
    Headline,
    Item,
    Notice,
    Page,
    PageSection,
    Picture,
    figure_png,
    render,
    write,
)

__all__ = [
    "Cell",
    "Code",
    "DataTable",
    "Figure",
    "Gallery",
    "Headline",
    "Item",
    "Notice",
    "Page",
    "PageSection",
    "Picture",
    "figure_png",
    "render",
    "write",
]
