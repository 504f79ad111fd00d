"""Kinds deploy.plan and deploy.allocate: one decision, with its reasons."""
