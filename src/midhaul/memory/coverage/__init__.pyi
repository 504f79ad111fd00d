from .increase import coverage_increase as coverage_increase
