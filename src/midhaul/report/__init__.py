"""Reports: tables and figures from runs, as one HTML file that needs nothing else."""

from midhaul.report.html import render, write
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
