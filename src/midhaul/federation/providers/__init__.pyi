from .base import Provider as Provider
